"""The texts of the board's scripts, which the page hands them in the viewer's language.

`{name}` stands for a value that the script puts in.
"""

from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from shop.management.laws import LAWS
from shop.operators.status_words import WORDS

TEXTS = {
    "unit.per_second": _("{rate}/s"),
    "unit.milliseconds": _("{count} ms"),
    "unit.seconds": _("{count} s"),
    "unit.minutes": _("{minutes} min {seconds} s"),
    "unit.hours": _("{hours} h {minutes} min"),
    "unit.days": _("{count} days"),
    # the dialog
    "pause": _("Pause"),
    "resume": _("Resume"),
    "quantity": _("Raise"),
    "pause.title": _("Pause {name}?"),
    "resume.title": _("Resume {name}?"),
    "quantity.title": _("Raise the quantity of {name}?"),
    "pause.campaign": _(
        "Once the shop has confirmed this, no more coupons of it are issued. Waiting tickets keep their "
        "positions, and issued coupons stay valid."
    ),
    "pause.product": _(
        "Once the shop has confirmed this, it can't be ordered any more. Open orders are paid, cancelled and "
        "refunded as before."
    ),
    "pause.sale": _(
        "Once the shop has confirmed this, none of its products can be ordered, and no entry is admitted. "
        "The clocks of admitted accounts stop. Open orders go on."
    ),
    "resume.campaign": _("It issues coupons again, and its queue goes on."),
    "resume.sale": _(
        "Its products can be ordered again, and admitted accounts have as long left as they had."
    ),
    "resume.product": _("It can be ordered again."),
    "quantity.campaign": _(
        "More coupons can be issued at once. This can't be undone below what is issued by then."
    ),
    "quantity.more": _("more than {count}"),
    "quantity.invalid": _("Enter a whole number above {count}."),
    "reason.missing": _("Give the reason."),
    "refused": _("The shop refused it ({status}). Reload the page, and try again."),
    "no_answer": _(
        "The shop didn't answer: it may have been done or not. Look at the board, and try again; repeating "
        "is safe."
    ),
    # cards
    "press.campaign": _("{action} campaign {name}"),
    "press.sale": _("{action} sale {name}"),
    "press.product": _("{action} product {name}"),
    "left.campaign": _("Coupons left of {name}"),
    "left.sale": _("Units left of the sale {name}"),
    "left.product": _("Units left of {name}"),
    "left": _("Left"),
    "of.campaign": _("of {count} left"),
    "of.sale": _("available"),
    "of.sale.queued": _("available, {count} admitted a minute at most"),
    "of.product": _("available, {count} reserved"),
    "queue": _("Queue"),
    "queue.wait": _("{count}, {time}"),
    "rate": _("Rate"),
    "opens_in": _("Opens in"),
    "gone_in": _("Gone in"),
    "refusals": _("Refused: {codes}"),
    "status.scheduled": _("opens soon"),
    "status.inactive": _("not active"),
    # plots
    "plot.requests": _("Requests a second"),
    "plot.times": _("Response times"),
    "plot.orders": _("Orders a second"),
    "plot.open_orders": _("Open orders"),
    "plot.unsettled": _("Payments in doubt, stuck sagas"),
    "plot.tickets": _("Queue tickets waiting"),
    "plot.database": _("Database, a second"),
    "series.answered": _("answered"),
    "series.refused": _("of them refused"),
    "series.coupons": _("coupons p95"),
    "series.orders": _("orders p95"),
    "series.placed": _("placed"),
    "series.lock_waits": _("lock waits"),
    "series.deadlocks": _("deadlocks"),
    "refused_by_code": _("Refused, by code"),
    "not_known": _("not known"),
    "none": _("none"),
    "table": _("Table"),
    "table.of": _("of {title}"),
    "table.label": _("Table of {title}"),
    "table.time": _("Time"),
    "plot.now": _("{title}, last {minutes} minutes. Now: {values}."),
    # laws and what is missing
    "law.holds": _("holds"),
    "law.audited": _("holds, audited {time} ago"),
    "law.unknown": _("not audited yet"),
    "law.broken": _("broken: {count} offenders"),
    "source.redis": _("Redis is unavailable: requests, refusals and response times are not known."),
    "partner.one": _("1 slot is with the partner and may still become a coupon."),
    "partner.some": _("{count} slots are with the partner and may still become coupons."),
    # tiles
    "tile.requests": _("Requests"),
    "tile.requests.note": _("calls of the API"),
    "tile.times": _("Response time"),
    "tile.times.note": _("p95; p50 {time}"),
    "tile.refused": _("Refused"),
    "tile.refused.note": _("by all codes"),
    "tile.queue.waits": _("first waits {time}"),
    "tile.queue.note": _("tickets"),
    "tile.in_doubt": _("In doubt"),
    "tile.in_doubt.oldest": _("oldest {time}"),
    "tile.in_doubt.note": _("payments"),
    "tile.disputes": _("Disputes"),
    "tile.disputes.note": _("open at the gateway"),
    "tile.stuck": _("Stuck"),
    "tile.stuck.note": _("of {count} sagas under way"),
    "tile.laws": _("Laws"),
    "tile.laws.broken": _("broken"),
    "tile.laws.some": _("hold, {count} not audited"),
    "tile.laws.all": _("hold, all of them"),
    # the connection
    "live": _("Live"),
    "not_live": _("Not live"),
    "connecting": _("Connecting"),
    "lost": _("Connection lost."),
    "signed_out": _("You are signed out."),
    "age": _("These figures are {time} old."),
    "no_figures": _("There are no figures yet."),
}
# Those that buyers get. Any other is shown as its code, with spaces.
REFUSALS = {
    "invalid": _("invalid"),
    "malformed_json": _("malformed json"),
    "not_authenticated": _("not authenticated"),
    "token_invalid": _("token invalid"),
    "permission_denied": _("permission denied"),
    "not_found": _("not found"),
    "method_not_allowed": _("method not allowed"),
    "request_timeout": _("request timeout"),
    "too_large": _("too large"),
    "throttled": _("throttled"),
    "internal_error": _("internal error"),
    "overloaded": _("overloaded"),
    "unavailable": _("unavailable"),
    "conflict": _("conflict"),
    "idempotency_key_missing": _("idempotency key missing"),
    "idempotency_key_invalid": _("idempotency key invalid"),
    "idempotency_key_in_flight": _("idempotency key in flight"),
    "idempotency_key_reused": _("idempotency key reused"),
    "invalid_credentials": _("invalid credentials"),
    "otp_required": _("otp required"),
    "otp_invalid": _("otp invalid"),
    "campaign_not_found": _("campaign not found"),
    "campaign_not_open": _("campaign not open"),
    "campaign_closed": _("campaign closed"),
    "campaign_paused": _("campaign paused"),
    "coupon_void": _("coupon void"),
    "coupon_not_usable": _("coupon not usable"),
    "lock_not_acquired": _("lock not acquired"),
    "partner_failed": _("partner failed"),
    "sale_not_open": _("sale not open"),
    "sale_closed": _("sale closed"),
    "sale_paused": _("sale paused"),
    "admission_required": _("admission required"),
    "admission_not_required": _("admission not required"),
    "product_not_found": _("product not found"),
    "product_paused": _("product paused"),
    "insufficient_stock": _("insufficient stock"),
    "insufficient_points": _("insufficient points"),
    "insufficient_funds": _("insufficient funds"),
    "purchase_limit_reached": _("purchase limit reached"),
    "too_many_open_orders": _("too many open orders"),
    "order_not_payable": _("order not payable"),
    "order_not_cancellable": _("order not cancellable"),
    "payment_declined": _("payment declined"),
    "card_declined": _("card declined"),
    "other": _("other"),
}


def read() -> dict[str, Any]:
    """The texts for the page's `json_script`: by name, of codes, and of laws."""
    statuses = {code: gettext(word) for code, word in WORDS.items()}
    return {
        "texts": TEXTS,
        "words": statuses | REFUSALS,
        "laws": {law: gettext(says) for law, says in LAWS.items()},
    }
