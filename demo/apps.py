"""The app's registration."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    name = "demo"
