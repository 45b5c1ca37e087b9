"""Stock brought in by CSV files: reading them, uploads of operators, and the import itself."""
