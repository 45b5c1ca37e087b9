"""How often something may be done: sliding windows per account, address and name."""
