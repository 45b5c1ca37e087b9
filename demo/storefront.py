"""The page at `/demo/`, where `DEMO` turns it on: its scripts sell by the public API, as any client may.

It hands its scripts their texts, which are those of `storefront/texts.txt` and words of statuses.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import translation
from django.views.decorators.http import require_safe

from accounts.demo_accounts import BUYER, BUYER_PASSWORD
from foundation import money
from foundation.admin_base.status_words import status_word
from foundation.errors import NotFound
from foundation.http import problems, views
from foundation.lazy_texts import mark

STATUSES = {
    "order": "awaiting_payment paying paid refunding refunded payment_failed cancelled expired",
    "coupon": "issued held redeemed expired void",
    "sale": "scheduled open paused closed",
}

# Scripts, styles and calls are of this origin, nothing is inline, and only lit-html makes elements of text.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types lit-html"
)


@require_safe
def storefront(request: HttpRequest) -> HttpResponse:
    """The page, which has no figures: its scripts read them. 404 where the demo is off."""
    if not settings.DEMO:
        return problems.from_error(
            NotFound(mark("There is no such page.")), translation.get_language()
        ).to_django()
    lines = render_to_string("storefront/texts.txt").splitlines()
    texts = dict(line.split(": ", 1) for line in lines if line)
    for kind, named in STATUSES.items():
        texts |= {f"{kind}.{status}": status_word(status) for status in named.split()}
    options = {
        "api": views.API_PREFIX.rstrip("/"),
        "brand": settings.UNFOLD["SITE_HEADER"],
        "language": translation.get_language(),
        "currency": settings.CURRENCY,
        "currencyDigits": money.digits_of(settings.CURRENCY),
        "demoUsername": BUYER,
        "demoPassword": BUYER_PASSWORD,
        "cards": [name.removeprefix("card.") for name in texts if name.startswith("card.tok_")],
        "texts": texts,
    }
    response = render(request, "storefront/page.html", {"options": options})
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response["Cache-Control"] = "no-cache"
    return response
