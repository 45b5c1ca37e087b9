"""What the admin's pages of coupons share: the colours of statuses, and loading a page again."""

from django.http import HttpResponse
from django.urls import reverse

COLOURS = {
    "scheduled": "info",
    "open": "success",
    "issued": "success",
    "available": "success",
    "sold_out": "warning",
    "paused": "danger",
    "held": "warning",
    "waiting": "info",
    "void": "danger",
    "failed": "danger",
}


def reload_page(view: str, object_id: str) -> HttpResponse:
    """Have the browser load the whole page again, because the dialog is only a fragment of it."""
    return HttpResponse(headers={"HX-Redirect": reverse(view, args=[object_id])})
