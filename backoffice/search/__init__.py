"""Search over orders, payments, coupons and accounts from one box, which is on every page of the admin."""
