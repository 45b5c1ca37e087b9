"""Personal data: which model stores what about an account, its export, and the erasure of an account."""
