"""Accounts: what is registered at the start, and checks of the doctor; the rest is in `shop/accounts/`."""
