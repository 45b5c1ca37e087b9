"""Rate limits: sliding windows per account, address and name."""
