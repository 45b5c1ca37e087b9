"""`make growth`: the bytes that an order and a coupon leave in each table, and what a year of them is."""
