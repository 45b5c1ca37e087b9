"""The operators' pages of orders, refunds, sagas and payments."""

from orders.admin import orders, payments, sagas

__all__ = ["orders", "payments", "sagas"]
