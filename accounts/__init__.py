"""Accounts: registration, sign-in, tokens, the second factor, API keys, and personal data of all apps."""
