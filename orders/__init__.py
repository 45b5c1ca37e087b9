"""Orders: placing, paying, cancelling and refunding them.

Start at `placement.checkout` and `payment.purchase`. Orders imports coupons, inventory and payments; no app
imports orders.
"""
