"""What a campaign, sale or product needs before it opens: each line measures itself and names its fix."""

from datetime import datetime
from typing import NamedTuple

from django.utils.timesince import timeuntil
from django.utils.translation import gettext

from foundation import clock
from foundation.admin_base.display import zoned_text
from foundation.models import JournalLine

RECENT_SECONDS = 86_400


class Check(NamedTuple):
    """A line: whether it `is_ready`, what was measured, and the action or `field` that puts it right."""

    is_ready: bool
    text: str
    fix: str = ""
    field: str = ""


def opening(opens_at: datetime, *, fix: str = "") -> Check:
    """When it opens, in the shop's zone and in UTC, and how long that is."""
    now = clock.now()
    if opens_at > now:
        # Its spaces don't break, and a phone is narrow.
        left = timeuntil(opens_at, now).replace("\xa0", " ")
        text = gettext("Opens %(at)s, in %(time)s") % {"at": zoned_text(opens_at), "time": left}
    else:
        text = gettext("Opened %(at)s") % {"at": zoned_text(opens_at)}
    return Check(True, text, fix, "opens_at")


def gateway() -> Check:
    """When the gateway last answered a payment with yes, which is ready if it was within a day."""
    line = JournalLine.objects.filter(what="order.paid").order_by("-id").first()
    if line is None:
        return Check(False, gettext("No card payment has succeeded yet: buy something yourself to test it"))
    text = gettext("The last card payment succeeded %(at)s")
    is_recent = clock.age_seconds(line.at) < RECENT_SECONDS
    if not is_recent:
        text = gettext("The last card payment succeeded %(at)s: buy something yourself before it opens")
    return Check(is_recent, text % {"at": zoned_text(line.at)})
