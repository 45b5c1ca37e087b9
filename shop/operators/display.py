"""How operators' pages show what they have: the stylesheet, statuses, stored texts, amounts and addresses."""

from collections.abc import Mapping

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from unfold.utils import display_for_label

from shop import lazy_texts
from shop.events import journal
from shop.models import JournalLine
from shop.money import format_amount, format_number
from shop.operators.status_words import status_word

STATE_COLOURS = {
    # of orders
    "awaiting_payment": "info",
    "paying": "info",
    "paid": "success",
    "refunding": "warning",
    "refunded": "default",
    "payment_failed": "danger",
    "cancelled": "default",
    "expired": "default",
    # of payments and refunds
    "pending": "info",
    "in_doubt": "warning",
    "requires_action": "info",
    "succeeded": "success",
    "failed": "danger",
    "reversed": "default",
    # of disputes
    "open": "warning",
    "won": "success",
    "lost": "danger",
    # of sagas
    "running": "info",
    "stuck": "danger",
    "done": "success",
    "compensated": "warning",
    # of events
    "queued": "warning",
    "delivered": "success",
    "dead": "danger",
}


def stylesheet(request: HttpRequest) -> str:
    """The one stylesheet of these pages, which unfold links on each of them."""
    return static("operators/pages.css")


class StatusLabel(SafeString):
    """A status as a coloured label, in the operator's language; exports have its code instead."""

    code: str


def status_label(code: str, colours: Mapping[str, str] = STATE_COLOURS, *, word: str = "") -> StatusLabel:
    """The label of a status: `colours` has unfold's variants by code, `word` is another word for it."""
    shown = (code, word or status_word(code))
    label = StatusLabel(display_for_label(shown, "", {code: colours.get(code, "")}))
    label.code = code
    return label


def actor_text(line: JournalLine) -> str:
    """The actor of a journal line: the kind, and the name or the number; with an API key, both."""
    name = line.actor_name
    if name.startswith(journal.KEY_NAME):
        return f"{line.get_actor_display()} {line.actor_id} ({name})"
    return f"{line.get_actor_display()} {name or line.actor_id or ''}".strip()


def stored_text(text: str) -> str:
    """A stored text, which is English, in the operator's language; what the catalogs lack stays as it is."""
    return lazy_texts.translate_stored(text, get_language() or lazy_texts.ENGLISH)


def amount(value: int, currency: str = "") -> str:
    """An amount in minor units as people read it, with its currency if that is given."""
    return format_amount(value, currency) if currency else format_number(value)


def permitted_address(
    request: HttpRequest, view: str, permission: str, *arguments: object, query: str = ""
) -> str:
    """The address of an admin page; empty if the operator may not open it."""
    if not request.user.has_perm(permission):
        return ""
    return reverse(f"admin:{view}", args=arguments) + (f"?{query}" if query else "")
