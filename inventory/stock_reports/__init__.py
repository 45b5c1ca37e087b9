"""What operators see of the stock: products low on it, movements, recent sales. Each read is bounded.

The back office imports these; the domain does not, and nothing is decided by them.
"""
