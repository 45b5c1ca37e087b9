"""The web process's entry: what granian serves."""

import os

from django.core.wsgi import get_wsgi_application

from shop.whole_bodies import read_first

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = read_first(get_wsgi_application())
