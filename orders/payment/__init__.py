"""Payments of orders as sagas: purchase, top-up and refund, the charge, their status, gateway events."""
