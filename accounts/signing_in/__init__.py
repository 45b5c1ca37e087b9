"""Signing in: names and passwords, the second factor, and the pages of both."""
