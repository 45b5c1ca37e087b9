"""The web process's entry: what granian serves."""

import os

from django.core.wsgi import get_wsgi_application

from shop.bodies_without_length import measured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = measured(get_wsgi_application())
