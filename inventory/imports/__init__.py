"""Importing stock from CSV files: reading the files, operators' uploads, and the import itself."""
