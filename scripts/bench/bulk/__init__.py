"""`make bulk`: millions of coupons on a throwaway MariaDB, and what archiving a month of them costs."""
