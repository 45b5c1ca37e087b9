"""Accounts: registration, sign-in, passwords, bearer tokens, and which accounts are disabled."""
