"""The app's registration."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "orders"
