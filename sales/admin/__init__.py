"""The operators' pages of sales, their products and the entries of their waiting rooms."""

from sales.admin import entries, sales

__all__ = ["entries", "sales"]
