"""Sagas: named steps that all happen or are compensated in reverse. All of their state is in SQL.

The package contains no shop logic. `definitions` has the types, steps and runs, `log` the rows, `batch` the
one transaction in which sagas advance, `locking` the locks that it begins with. `executor` and `pools` are
the threads around it, `calls` makes the calls to other systems, and `step_results` are the results for what
fails. `recovery` finds new and due sagas, `backlog` measures how far the workers are behind. For operators
there are `operator_actions`, `operator_texts` with everything that the admin and the commands say, and
`status`. The saga types themselves are `orders.payment.purchase`, `orders.payment.top_ups` and
`orders.payment.refund_saga`.
"""
