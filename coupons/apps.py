"""The app's registration."""

from django.apps import AppConfig


class CouponsConfig(AppConfig):
    name = "coupons"
