"""Operators' pages that show all apps at once: home, launch board, accounts, search, reports."""
