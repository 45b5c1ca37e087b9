"""The page at `/`: what runs here, what is left of campaigns and products, and where to go on.

It is public, so it shows what `GET /campaigns` and `GET /products` show to anonymous clients; beside `make
run`, where all data is a demo, the newest orders by status as well. A process reads these figures at most
once in `CACHE_SECONDS`, however many browsers ask for them.
"""

import threading
import time
from collections import Counter
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from coupons import campaigns
from coupons.schemas import campaign_body
from inventory import products
from inventory.schemas import product_body
from orders.models import Order
from shop.observability import reading
from shop.observability.reading import Job, Source
from shop.operators.status_words import status_word

CACHE_SECONDS = 1.0
MOST_CAMPAIGNS, MOST_PRODUCTS, NEWEST_ORDERS = 8, 12, 1_000
CAMPAIGN_MEMBERS = ("id", "name", "status", "quantity", "remaining")
PRODUCT_MEMBERS = ("id", "name", "availability", "available")
API_DOCS = "/api/docs/"
LINKS = (
    (_("API"), API_DOCS, _("every call, to be tried in the browser")),
    (_("OpenAPI document"), "/api/schema/", _("for generated clients")),
    (_("Admin"), "/admin/", _("for operators: orders, campaigns, stock, payments, sagas")),
    (_("Launch board"), "/admin/board/", _("for operators: a drop as it happens")),
    (_("Metrics"), "/metrics", _("Prometheus' text format; for this machine, or with a token")),
    (_("Readiness"), "/readyz", _("database, Redis, broker and migrations")),
)
# Styles, script and figures come from this origin; nothing is inline.
CONTENT_SECURITY_POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_mutex = threading.Lock()
_cached: list[tuple[float, dict[str, Any]]] = []


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The page for browsers, which read it every second; other clients are redirected to the API's docs."""
    response: HttpResponse
    if request.get_preferred_type(["application/json", "text/html"]) == "text/html":
        context = {"figures": _with_labels(figures()), "links": LINKS, "is_demo": settings.IS_MAKE_RUN}
        response = render(request, "shop/welcome.html", context)
        response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        patch_cache_control(response, public=True, max_age=int(CACHE_SECONDS))
    else:
        response = HttpResponseRedirect(API_DOCS)
    patch_vary_headers(response, ["Accept"])
    return response


def figures() -> dict[str, Any]:
    """Campaigns, products and orders, at most `CACHE_SECONDS` old; each is None if it can't be read just now.

    Requests that arrive while they are read wait for that reading, `reading.READ_SECONDS` at most.
    """
    with _mutex:
        if not _cached or time.monotonic() - _cached[0][0] >= CACHE_SECONDS:
            read = _read_figures()
            _cached[:] = [(time.monotonic(), read)]
        return _cached[0][1]


def drop_cached() -> None:
    """Drop what was read last (tests)."""
    _cached.clear()


def _read_figures() -> dict[str, Any]:
    readers = {"campaigns": _read_campaigns, "products": _read_products}
    if settings.IS_MAKE_RUN:
        readers["orders"] = _read_orders
    jobs = [Job(f"welcome_page_{name}", Source.DATABASE, read) for name, read in readers.items()]
    found = reading.read_all(jobs, threads=1)
    return {name: found.get(f"welcome_page_{name}") for name in ("campaigns", "products", "orders")}


def _read_campaigns() -> list[dict[str, Any]]:
    """The newest of those that anonymous clients see."""
    newest = campaigns.visible(include_closed=False).order_by("-pk")[:MOST_CAMPAIGNS]
    bodies = [campaign_body(campaign) for campaign in newest]
    return [{name: body[name] for name in CAMPAIGN_MEMBERS} for body in bodies]


def _read_products() -> list[dict[str, Any]]:
    """The first of those that anonymous clients see."""
    first = products.find(include_inactive=False).order_by("pk")[:MOST_PRODUCTS]
    bodies = [product_body(product) for product in first]
    return [{name: body[name] for name in PRODUCT_MEMBERS} for body in bodies]


def _read_orders() -> list[dict[str, Any]]:
    """How many of the newest orders have each status, of those that one has."""
    newest = Order.objects.order_by("-pk").values_list("status", flat=True)[:NEWEST_ORDERS]
    numbers = Counter(newest)
    return [
        {"status": status.value, "number": numbers[status]} for status in Order.Status if status in numbers
    ]


def _with_labels(read: dict[str, Any]) -> dict[str, Any]:
    """The figures with each status as people read it, in the request's language."""
    return {name: rows and [row | {"label": _label(row)} for row in rows] for name, rows in read.items()}


def _label(row: dict[str, Any]) -> str:
    return status_word(row["availability"] if "availability" in row else row["status"])
