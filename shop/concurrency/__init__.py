"""The event loop of a web process, its thread pools, group commit, and limits for hot rows.

`event_loop` has what coroutines wait for, `blocking` runs them without one, `thread_pool` and `thread_budget`
have the threads, `group_commit` the batcher; `optimistic` and `concurrency_limit` are for strategies that
lock a row for each request.
"""
