"""Accounts: their sign-ins, tokens, second factors and API keys."""
