"""The page at `/`: what runs here, what is left of campaigns and products, and where to go on.

It shows what anonymous clients see. A process renders it at most once in `CACHE_SECONDS`.
"""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from coupons import campaigns
from coupons.schemas import campaign_body
from foundation.admin_base.status_words import status_word
from foundation.concurrency.shared_read import SharedRead
from foundation.http import preferences
from foundation.observability import gauges
from foundation.observability.gauges import Source
from inventory import products
from inventory.schemas import product_body

CACHE_SECONDS = 1.0
MOST_CAMPAIGNS = 8
MOST_PRODUCTS = 12
STATES = {"campaigns": "status", "products": "availability"}
API_DOCS = "/api/docs/"
# Below the address of the documentation's site.
DOCUMENTATION = (
    (_("Tutorial"), "tutorial/", _("a drop in ten minutes, on your own machine")),
    (_("Documentation"), "", _("guides, reference and explanations")),
)
STOREFRONT = (_("Demo storefront"), "/demo/", _("sign in, wait for a sale, claim a coupon, buy"))
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


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The page for browsers, which read it every few seconds; others are redirected to the API's docs."""
    language = preferences.choose_language(request.headers.get("Accept-Language"))
    is_page = request.get_preferred_type(["application/json", "text/html"]) == "text/html"
    headers = {"Content-Language": language, "Vary": "Accept, Accept-Language"}
    if not is_page:
        return HttpResponse(status=302, headers=headers | {"Location": API_DOCS})
    headers |= {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Cache-Control": f"public, max-age={int(CACHE_SECONDS)}",
    }
    return HttpResponse(PAGES.get()[language], headers=headers)


def _render_all() -> dict[str, bytes]:
    read = _read_figures()
    site = settings.DOCUMENTATION_URL
    pages = [(name, f"{site.rstrip('/')}/{page}", about) for name, page, about in DOCUMENTATION if site]
    links = [*([STOREFRONT] if settings.DEMO else []), *pages, *LINKS]
    rendered = {}
    for language, _name in settings.LANGUAGES:
        with translation.override(language):
            figures = {
                name: rows and [row | {"label": status_word(row[STATES[name]])} for row in rows]
                for name, rows in read.items()
            }
            context = {"figures": figures, "links": links, "is_demo": settings.IS_MAKE_RUN}
            rendered[language] = render_to_string("demo/welcome.html", context).encode()
    return rendered


def _read_figures() -> dict[str, Any]:
    open_campaigns = campaigns.visible(include_closed=False).order_by("-pk")[:MOST_CAMPAIGNS]
    active = products.find(include_inactive=False).order_by("pk")[:MOST_PRODUCTS]
    readers: dict[str, Callable[[], Any]] = {
        "welcome_page_campaigns": lambda: [*map(campaign_body, open_campaigns)],
        "welcome_page_products": lambda: [*map(product_body, active)],
    }
    found = gauges.read_all(Source.DATABASE, readers)
    return {name: found.get(f"welcome_page_{name}") for name in STATES}


PAGES = SharedRead(_render_all, name="the welcome page", seconds=CACHE_SECONDS, share=0.25)
