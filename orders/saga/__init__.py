"""Sagas: named steps that all happen or are compensated, calls of other systems last first. Their state is in
SQL alone.

The package contains no shop logic. The saga types are `orders.payment.purchase`, `orders.payment.top_ups` and
`orders.payment.refund_saga`.
"""
