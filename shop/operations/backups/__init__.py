"""Backups: dumps of one consistent state, and restores of one, up to a moment by the binary logs.

The programs of MariaDB and MySQL do the work. The modules here call them, and check what they have made.
"""
