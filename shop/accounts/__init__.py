"""Accounts: registering, signing in, passwords, bearer tokens, and which accounts are disabled.

`accounts` registers and disables, `sign_ins` checks passwords, `tokens` makes access and refresh tokens,
`authentication` turns a bearer token into an account.
"""
