"""Sagas: named steps that all happen or are compensated in reverse. All of their state is in SQL.

The package contains no shop logic. `definitions` has the types, steps, results and runs, `log` the rows and
their locks, `batch` the one transaction in which sagas advance. `executor` and `pools` are the threads around
it, `calls` makes the calls to other systems. `recovery` finds new and due sagas, `backlog` measures how far
the workers are behind. For operators there are `operator_actions`, `operator_texts` with everything that the
admin and the commands say, and `status`. The saga types themselves are `orders.payment.purchase`,
`orders.payment.top_ups` and `orders.payment.refund_saga`.
"""
