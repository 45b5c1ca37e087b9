"""Sagas: named steps that must all happen, or be undone in reverse. All of their state is in SQL.

The package contains no shop logic. `definitions` has the types and steps, `log` the rows, `runs` and `batch`
the one transaction in which sagas advance, `executor` and `pools` the threads around it, `recovery` finds new
and due sagas, `backlog` how far the workers are behind, `operator_actions` and `status` the operators' side.
The saga types themselves are `orders.payment.purchase`, `orders.payment.top_ups` and
`orders.payment.refund_saga`.
"""
