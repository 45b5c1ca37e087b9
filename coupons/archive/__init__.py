"""The archive of coupons: those of closed campaigns, moved by month out of the table that issues."""
