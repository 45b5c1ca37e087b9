"""Accounts: registration, sign-in, passwords, bearer tokens, and which accounts are disabled.

`accounts` registers and disables accounts, `sign_ins` checks passwords, `tokens` makes access and refresh
tokens and replaces them, `sign_outs` refuses all tokens of an account, and `authentication` verifies them and
finds the account of a call.
"""
