"""The database: transactions that are retried, bulk SQL, rows that stay locked, the MySQL backend.

Domain code opens transactions by `transactions` alone; inside one it calls `open_transaction`.
"""
