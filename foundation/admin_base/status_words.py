"""Codes of statuses as words in the operator's language: `sold_out` is "sold out"."""

from django.utils.translation import gettext, gettext_noop as _

WORDS = {
    word.replace(" ", "_"): word
    for word in (
        # of campaigns and products
        _("scheduled"),
        _("awaiting codes"),
        _("open"),
        _("paused"),
        _("sold out"),
        _("closed"),
        _("available"),
        _("inactive"),
        _("low"),
        # of coupons, codes and tickets
        _("issued"),
        _("held"),
        _("redeemed"),
        _("void"),
        _("expired"),
        _("in flight"),
        _("waiting"),
        # of entries of sales
        _("admitted"),
        _("used"),
        _("over"),
        # of orders, payments, refunds and sagas
        _("awaiting payment"),
        _("paying"),
        _("paid"),
        _("refunding"),
        _("refunded"),
        _("payment failed"),
        _("cancelled"),
        _("pending"),
        _("in doubt"),
        _("succeeded"),
        _("failed"),
        _("reversed"),
        _("running"),
        _("stuck"),
        _("done"),
        _("compensated"),
        # of disputes
        _("won"),
        _("lost"),
        # of approvals
        _("approved"),
        _("refused"),
        # of API keys
        _("valid"),
        _("revoked"),
        # of movements of stock
        _("received"),
        _("adjusted"),
        _("sold"),
        _("returned"),
        _("reserved"),
        # of accounts, events and laws
        _("active"),
        _("disabled"),
        _("delivered"),
        _("dead"),
        _("holds"),
        _("broken"),
    )
} | {"requires_action": _("waits for the customer")}


def status_word(code: str) -> str:
    """The word for the code; of an unknown one, its own text with spaces."""
    return gettext(WORDS[code]) if code in WORDS else code.replace("_", " ")
