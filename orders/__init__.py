"""Orders: placing, paying, cancelling and refunding them.

Start at `orders.placement.checkout` and `orders.payment.purchase`. Of the domain's apps none imports orders.
"""
