"""The shop's settings with `LAB=1`: those of the shop, and the addresses of the lab."""

from shop.settings import *  # noqa: F403 - Django's way to settings that build on others

ROOT_URLCONF = "lab.urls"
