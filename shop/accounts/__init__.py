"""Accounts: registering, signing in, passwords, bearer tokens, and which accounts are disabled."""
