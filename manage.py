#!/usr/bin/env python
import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def require_settings() -> None:
    """End the process with one line that names the setting that is wrong or missing.

    Django would go on with its own commands, of which some then run without the shop's settings.
    """
    try:
        settings.INSTALLED_APPS  # noqa: B018  (the first access loads them)
    except ImproperlyConfigured as error:
        sys.exit(f"A setting is wrong: {error}")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    try:
        require_settings()
        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        sys.exit(130)
