"""The script of the search box, which unfold links on every page."""

from django.http import HttpRequest
from django.templatetags.static import static


def script(request: HttpRequest) -> str:
    return static("backoffice/search/search.js")
