"""Reads pages as people see them, and finds the English that a page in Korean still has."""

import re
from collections.abc import Sequence

import django
import lxml.html
from django.apps import apps
from django.contrib import admin
from django.db.models import JSONField

from foundation.admin_base.status_words import plain_text

KOREAN = {"Accept-Language": "ko"}
# Names and units that are written the same in Korean, and those in Django's own Korean.
NAMES = {
    "Firstcome", "API", "CSV", "csv", "JSON", "JavaScript", "OpenAPI", "OS", "QR", "UTC", "TOTP", "KiB",
    "MiB", "ms", "esc", "KRW", "Prometheus", "Redis", "ID", "Id", "id", "IP", "URL", "SKU", "PBKDF2", "SHA",
    "traceparent", "Traceparent", "Control", "Command", "Mac", "Ctrl", "Single", "Sign", "On", "LDAP",
    "https", "English", "en", "ko",
}  # fmt: skip
# Of the rows that the tests create, where they are single words.
CODES = {"simulator", "Simulator", "stripe", "authenticator", "Authenticator", "warehouse", "Warehouse"}
# Names of strategies, sagas, steps and scopes, which the admin shows as they are; only if they stand alone.
ALONE = {"pessimistic", "optimistic", "queue", "refund", "purchase", "settle", "transmit", "act"}
# unfold's texts whose Korean is Django's; Django 6.1 has other texts in their place.
UNFOLDS = (
    "|Run the selected action|Are you sure you want to delete the .*:$|Models in the [^a-z]* application"
    if django.VERSION >= (6, 1)
    else ""
)
# What is no text of ours: addresses, paths of files, codes of things, ids, hashes and keys of JSON, commands,
# subjects of the journal, rows that are named by codes, and Django's table of groups' permissions.
IDENTIFIERS = re.compile(
    r"https?://\S+|\S+@\S+|/[\w/<>.-]+/|`\w+`"
    r"|Group-permission relationships?|Group_permissions object|\b(?:product|order) \d+|\blist shop\.\w+"
    r"|[Gg]rant opening|[Rr]efund card do failed|\b[Rr]efund (?:[\da-f]{8}-[\da-f-]+|[\d-]{10} [\d:]{8})"
    r"|\b(?:group commit|pessimistic|optimistic|conditional update|spin lock|fair lock|redis gate)\b"
    r"|\b(?:code pool|unsafe)\b|\bqueue:|\bsettle refund\b"
    r"|\b(?:refund|purchase) [\da-f]{12}\b|: (?:refund|queue)$"
    r"|\b\w+(?:[._]\w+)+\b\.?|\b\w*\d\w*(?:-\w+)*|\w+-\d+|\w+\*+|(?<=는 )order\."
    r"|\b[a-z]+:(?:read|write)\b|\bfc_key_|“act”" + UNFOLDS
)
# What is not shown: programs and samples, icons, and rows of permissions, groups and accounts to select from.
HIDDEN = (
    "ancestor-or-self::*[self::script or self::style or self::code or self::pre or self::template"
    " or contains(@class, 'material-symbols-outlined')"
    " or @name = 'permissions' or @name = 'user_permissions' or @name = 'groups']"
)
ATTRIBUTES = "title", "aria-label", "placeholder", "alt", "data-label"
# The texts, the attributes that are read out or shown, and the names of buttons.
SHOWN = (
    f"//text()[not({HIDDEN})]",
    *(f"//*[not({HIDDEN})]/@{name}" for name in ATTRIBUTES),
    f"//input[@type = 'submit' or @type = 'button'][not({HIDDEN})]/@value",
)
WORD = re.compile(r"[A-Za-z][A-Za-z'’]+")


def english_in(page: str, rows: Sequence[str] = ()) -> list[str]:
    """The texts of the page that have an English word which is no name; `rows` are `texts_of_rows()`."""
    root = lxml.html.document_fromstring(page or "<p>")
    texts = {" ".join(text.split()): None for shown in SHOWN for text in root.xpath(shown)}
    return [text for text in texts if _is_english(text) and _is_english(text, rows)]


def _is_english(text, rows=()):
    if text in ALONE:
        return False
    for row in rows:
        text = text.replace(row, " ")
    return any(word not in NAMES | CODES for word in WORD.findall(IDENTIFIERS.sub(" ", text)))


def texts_of_rows() -> list[str]:
    """What people and programs wrote into the rows, the longest first; no single lower-case words."""
    found: set[str] = set()
    # They have no list of their own.
    others = [apps.get_model("orders", name) for name in ("OrderNote", "OrderLine", "RefundLine")]
    for model in (*admin.site._registry, *others):
        fields = [field for field in model._meta.fields if not field.choices]
        for row in model._default_manager.all():
            for field in fields:
                found |= set(_strings(field.value_from_object(row), isinstance(field, JSONField)))
    found |= {plain_text(text) for text in found}
    return sorted((text for text in found if not re.fullmatch(r"[a-z]{,20}", text)), key=len, reverse=True)


def _strings(value, is_json):
    if isinstance(value, str):
        yield value
    elif is_json and isinstance(value, dict | list):
        for part in [*value, *(value.values() if isinstance(value, dict) else ())]:
            yield from _strings(part, is_json)
