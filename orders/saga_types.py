"""Registers every saga type on import."""

from orders import giving_back, purchase, top_ups

NAMES = (purchase.NAME, top_ups.NAME, giving_back.NAME)
