"""The shop's settings, with one migration more."""

from shop.settings import *  # noqa: F403 - Django's way to settings that build on others

MIGRATION_MODULES = {"shop": "shop.tests.later_migrations"}
