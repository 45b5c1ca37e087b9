"""The roof's registration: it has commands, checks and the laws, and no models."""

from django.apps import AppConfig


class RoofConfig(AppConfig):
    name = "shop"
    # `shop` is the label of the floor's tables and permissions.
    label = "firstcome"

    def ready(self) -> None:
        from shop import laws
        from shop.burst import checks as _checks  # noqa: F401 - registers them

        laws.register()
