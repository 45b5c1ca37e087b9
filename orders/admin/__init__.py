"""The operators' pages of orders, refunds, sagas and payments."""

from orders.admin import orders, payments, refunds, sagas

__all__ = ["orders", "payments", "refunds", "sagas"]
