"""The app's registration."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"
