"""Sagas: named steps that all happen or are compensated in reverse. All of their state is in SQL.

The package contains no shop logic. The saga types are `orders.payment.purchase`, `orders.payment.top_ups` and
`orders.payment.refund_saga`.
"""
