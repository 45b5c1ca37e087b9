"""Codes of statuses as words in the operator's language: `sold_out` is "sold out"."""

import re

from django.utils.translation import gettext, gettext_noop

UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{4}([0-9a-f]{8})", re.IGNORECASE)
CODE = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b")
WORDS = {
    word.replace(" ", "_"): word
    for word in (
        # of campaigns and products
        gettext_noop("scheduled"),
        gettext_noop("awaiting codes"),
        gettext_noop("open"),
        gettext_noop("paused"),
        gettext_noop("sold out"),
        gettext_noop("closed"),
        gettext_noop("available"),
        gettext_noop("inactive"),
        gettext_noop("low"),
        # of coupons, codes and tickets
        gettext_noop("issued"),
        gettext_noop("held"),
        gettext_noop("redeemed"),
        gettext_noop("void"),
        gettext_noop("expired"),
        gettext_noop("in flight"),
        gettext_noop("waiting"),
        # of entries of sales
        gettext_noop("admitted"),
        gettext_noop("used"),
        gettext_noop("over"),
        # of orders, payments, refunds and sagas
        gettext_noop("awaiting payment"),
        gettext_noop("paying"),
        gettext_noop("paid"),
        gettext_noop("refunding"),
        gettext_noop("refunded"),
        gettext_noop("payment failed"),
        gettext_noop("cancelled"),
        gettext_noop("pending"),
        gettext_noop("in doubt"),
        gettext_noop("succeeded"),
        gettext_noop("failed"),
        gettext_noop("reversed"),
        gettext_noop("running"),
        gettext_noop("stuck"),
        gettext_noop("done"),
        gettext_noop("compensated"),
        # of disputes
        gettext_noop("won"),
        gettext_noop("lost"),
        # of approvals
        gettext_noop("approved"),
        gettext_noop("refused"),
        # of API keys
        gettext_noop("valid"),
        gettext_noop("revoked"),
        # of movements of stock
        gettext_noop("received"),
        gettext_noop("adjusted"),
        gettext_noop("sold"),
        gettext_noop("returned"),
        gettext_noop("reserved"),
        # of accounts, events and laws
        gettext_noop("active"),
        gettext_noop("disabled"),
        gettext_noop("delivered"),
        gettext_noop("dead"),
        gettext_noop("holds"),
        gettext_noop("broken"),
    )
} | {"requires_action": gettext_noop("waits for the customer")}


def status_word(code: str) -> str:
    """The word for the code; of an unknown one, its own text with spaces."""
    return gettext(WORDS[code]) if code in WORDS else code.replace("_", " ")


def plain_text(text: str) -> str:
    """A text of programs for people: codes as words, and of a long id its end."""
    return CODE.sub(lambda found: found[0].replace("_", " "), UUID.sub(r"…\1", text))
