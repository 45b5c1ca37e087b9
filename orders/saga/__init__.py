"""Sagas: named steps that all happen or are compensated, calls of other systems last first. Their state is in
SQL alone.

Of the shop the package knows the orders and payments that sagas are about, and no rules. The saga types are
`orders.payment.purchase`, `orders.payment.top_ups` and `orders.payment.refund_saga`.
"""
