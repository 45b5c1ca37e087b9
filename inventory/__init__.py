"""Products and their stock: what is on hand and what open orders reserve, which is never more.

Coupons, sales, payments and orders may import from here; inventory imports events and what is below them.
"""
