"""Shared codes: what a campaign whose orders all name one code may be, and why another one is refused.

Orders issue its coupons under its row's lock (`coupons.coupon_requests`), `POST /coupons` by its strategy,
which must therefore decide by that row alone. An order's transaction can't wait for a partner.
"""

import re
from collections.abc import Iterator

from django.db import IntegrityError

from coupons import codes, pool
from coupons.models import Campaign
from shop.lazy_texts import Text, mark as _

STRATEGIES = ("group_commit", "pessimistic", "optimistic", "conditional_update")
SAFE_LENGTH = 8
"""Shorter codes are guessed sooner than the limits of wrong codes suggest."""
UNIQUE_KEY = "coupons_campaign_shared_code_is_unique"


def faults(campaign: Campaign) -> Iterator[dict[str, Text]]:
    """What is wrong with the terms of a campaign with a shared code, or with the code of another one."""
    if campaign.code_source != Campaign.CodeSource.SHARED:
        if campaign.shared_code is not None:
            detail = _("Only a campaign whose code source is shared has a shared code.")
            yield fault("shared_code", "not_shared", detail)
        return
    if campaign.shared_code is None:
        yield fault("shared_code", "required", _("A campaign whose code source is shared needs its code."))
    elif not re.match(codes.GIVEN_PATTERN, campaign.shared_code):
        detail = _("A code has 1 to 64 characters: letters, digits, . _ ~ and -, the first no sign.")
        yield fault("shared_code", "not_a_code", detail)
    if campaign.strategy not in STRATEGIES:
        detail = _(
            "With a shared code the strategy must be one of {strategies}.", strategies=", ".join(STRATEGIES)
        )
        yield fault("strategy", "not_for_shared_code", detail)
    if campaign.partner:
        detail = _("A partner can't confirm the coupons of a shared code.")
        yield fault("partner", "not_for_shared_code", detail)


def raise_if_taken(error: IntegrityError, code: str | None) -> None:
    """Raise `Rejected` `code_exists` if the error says that another campaign has just taken the code."""
    # SQLite names the column instead of the key.
    if code and (UNIQUE_KEY in str(error) or "coupons_campaign.shared_code" in str(error)):
        raise pool.code_exists(code) from error


def fault(field: str, code: str, detail: Text) -> dict[str, Text]:
    """An entry of the errors of `Invalid`."""
    return {"field": field, "code": code, "detail": detail}
