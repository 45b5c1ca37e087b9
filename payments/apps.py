"""The app's registration."""

from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"
