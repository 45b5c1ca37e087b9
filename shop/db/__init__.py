"""The database: transactions, bulk SQL, rows that stay locked, the MySQL backend."""
