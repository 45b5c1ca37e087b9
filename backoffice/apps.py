"""The app's registration."""

from django.apps import AppConfig


class BackofficeConfig(AppConfig):
    name = "backoffice"
