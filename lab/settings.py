"""The shop's settings with `LAB=1`: those of the shop, and the addresses of the lab."""

import os

from shop.settings import *  # noqa: F403 - Django's way to settings that build on others

ROOT_URLCONF = "lab.urls"
UNSAFE_INSERTS_FIRST = os.environ.get("UNSAFE_INSERTS_FIRST") == "1"
