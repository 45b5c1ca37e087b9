"""The event loop of a web process, its pools of threads, group commit, and limits of hot rows.

`event_loop` is what coroutines wait by, `thread_pool` and `thread_budget` the threads, `group_commit` the
batcher, `optimistic` and `concurrency_limit` are for strategies that lock a row for each request.
"""
