"""Registers every saga type on import."""

from orders.payment import purchase, refund_saga, top_ups

NAMES = (purchase.NAME, top_ups.NAME, refund_saga.NAME)
