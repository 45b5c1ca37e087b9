"""The operators' pages of products, stock movements and deliveries."""

from inventory.admin import products

__all__ = ["products"]
