"""Codes of statuses as words in the operator's language: `sold_out` is "sold out"."""

from django.utils.translation import gettext, gettext_noop as _

WORDS = {
    # of campaigns and products
    "scheduled": _("scheduled"),
    "awaiting_codes": _("awaiting codes"),
    "open": _("open"),
    "paused": _("paused"),
    "sold_out": _("sold out"),
    "closed": _("closed"),
    "available": _("available"),
    "inactive": _("inactive"),
    "low": _("low"),
    # of coupons, codes and tickets
    "issued": _("issued"),
    "held": _("held"),
    "redeemed": _("redeemed"),
    "void": _("void"),
    "expired": _("expired"),
    "in_flight": _("in flight"),
    "waiting": _("waiting"),
    # of entries of sales
    "admitted": _("admitted"),
    "used": _("used"),
    "over": _("over"),
    # of orders, payments, refunds and sagas
    "awaiting_payment": _("awaiting payment"),
    "paying": _("paying"),
    "paid": _("paid"),
    "refunding": _("refunding"),
    "refunded": _("refunded"),
    "payment_failed": _("payment failed"),
    "cancelled": _("cancelled"),
    "pending": _("pending"),
    "in_doubt": _("in doubt"),
    "requires_action": _("waits for the customer"),
    "succeeded": _("succeeded"),
    "failed": _("failed"),
    "reversed": _("reversed"),
    "running": _("running"),
    "stuck": _("stuck"),
    "done": _("done"),
    "compensated": _("compensated"),
    # of disputes
    "won": _("won"),
    "lost": _("lost"),
    # of approvals
    "approved": _("approved"),
    "refused": _("refused"),
    # of API keys
    "valid": _("valid"),
    "revoked": _("revoked"),
    # of movements of stock
    "received": _("received"),
    "adjusted": _("adjusted"),
    "sold": _("sold"),
    "returned": _("returned"),
    "reserved": _("reserved"),
    # of accounts, events and laws
    "active": _("active"),
    "disabled": _("disabled"),
    "delivered": _("delivered"),
    "dead": _("dead"),
    "holds": _("holds"),
    "broken": _("broken"),
}


def status_word(code: str) -> str:
    """The word for the code; of an unknown one, its own text with spaces."""
    return gettext(WORDS[code]) if code in WORDS else code.replace("_", " ")
