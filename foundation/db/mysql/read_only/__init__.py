"""The MySQL backend of `DATABASE_READ_URL`: it reads, outside of transactions, and refuses all else."""
