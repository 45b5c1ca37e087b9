"""The page at `/demo/`, where `DEMO` turns it on: its scripts sell by the public API, as any client may.

The page itself is the same for every reader of a language. Its scripts are in `shop/static/storefront`.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from shop import money
from shop.accounts.demo_accounts import BUYER, BUYER_PASSWORD
from shop.errors import NotFound
from shop.http import problems, views
from shop.lazy_texts import mark as _
from shop.storefront import texts

# Scripts, styles and calls are of this origin, nothing is inline, and only lit-html makes elements of text.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types lit-html",
    )
)


@require_safe
def storefront(request: HttpRequest) -> HttpResponse:
    """The page, which has no figures: its scripts read them. 404 where the demo is off."""
    if not settings.DEMO:
        return problems.from_error(
            NotFound(_("There is no such page.")), translation.get_language()
        ).to_django()
    options = {
        "api": views.API_PREFIX.rstrip("/"),
        "brand": settings.UNFOLD["SITE_HEADER"],
        "language": translation.get_language(),
        "currency": settings.CURRENCY,
        "currencyDigits": money.digits_of(settings.CURRENCY),
        "demoUsername": BUYER,
        "demoPassword": BUYER_PASSWORD,
        "cards": list(texts.CARDS),
        "texts": {name: gettext(text) for name, text in texts.TEXTS.items()},
    }
    response = render(request, "storefront/page.html", {"options": options})
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response["Cache-Control"] = "no-cache"
    return response
