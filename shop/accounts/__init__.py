"""Accounts: registration, sign-in, passwords, bearer tokens, and which accounts are disabled.

`accounts` registers and disables accounts, `sign_ins` checks passwords, `tokens` makes access and refresh
tokens, and `authentication` finds the account of a bearer token.
"""
