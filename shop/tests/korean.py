"""Reads pages as people see them, and finds the English that a page in Korean still has."""

import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from typing import Any

from django.contrib import admin
from django.db.models import JSONField

KOREAN = {"Accept-Language": "ko"}
# Names and units that are written the same in Korean, and those in Django's own Korean.
NAMES = {
    "Firstcome", "API", "CSV", "csv", "JSON", "JavaScript", "OpenAPI", "OS", "QR", "UTC", "TOTP", "KiB",
    "MiB", "ms", "esc", "KRW", "Prometheus", "Redis", "ID", "Id", "id", "IP", "URL", "SKU", "PBKDF2", "SHA",
    "traceparent", "Traceparent", "Control", "Command", "Mac", "Ctrl", "Single", "Sign", "On", "LDAP",
}  # fmt: skip
# Of the rows that the tests create, where they are single words.
CODES = {"simulator", "Simulator", "stripe", "authenticator", "Authenticator", "warehouse", "Warehouse"}
# Names of strategies, sagas, steps and scopes, which the admin shows as they are; only if they stand alone.
ALONE = {"pessimistic", "optimistic", "queue", "refund", "purchase", "settle", "transmit", "act"}
# What is no text of ours: addresses, paths of files, codes of things, ids, hashes and keys of JSON, commands,
# subjects of the journal, rows that are named by codes, and Django's table of groups' permissions.
IDENTIFIERS = re.compile(
    r"https?://\S+|\S+@\S+|/[\w/<>.-]+/|`\w+`"
    r"|Group-permission relationships?|Group_permissions object|\b(?:product|order) \d+|\blist shop\.\w+"
    r"|[Gg]rant opening|[Rr]efund_card do failed|\b[Rr]efund [\da-f]{8}-[\da-f-]+"
    r"|\b(?:refund|purchase) [\da-f]{12}\b|: refund$"
    r"|\b\w+(?:[._]\w+)+\b\.?|\b\w*\d\w*(?:-\w+)*|\w+-\d+|\w+\*+|(?<=는 )order\."
    r"|\b[a-z]+:(?:read|write)\b|\bfc_key_|“act”"
)
SHOWN_ATTRIBUTES = ("title", "aria-label", "placeholder", "alt", "data-label")
NOT_SHOWN = {"script", "style", "code", "pre", "template"}
# Of what they select the names are rows: permissions, groups, accounts.
ROWS = {"permissions", "user_permissions", "groups"}
NO_END = {"br", "hr", "img", "input", "link", "meta", "rect", "line", "path", "circle", "source", "use"}
WORD = re.compile(r"[A-Za-z][A-Za-z'’]+")


def english_in(page: str, rows: Sequence[str] = ()) -> list[str]:
    """The texts of the page that have an English word which is no name; `rows` are `texts_of_rows()`."""
    reader = _Reader()
    reader.feed(page)
    return [text for text in dict.fromkeys(reader.texts) if _is_english(text) and _is_english(text, rows)]


def _is_english(text: str, rows: Sequence[str] = ()) -> bool:
    if text in ALONE:
        return False
    for row in rows:
        text = text.replace(row, " ")
    return any(word not in NAMES | CODES for word in WORD.findall(IDENTIFIERS.sub(" ", text)))


def texts_of_rows() -> list[str]:
    """What people and programs wrote into the rows, the longest first; no single lower-case words."""
    found: set[str] = set()
    for model in admin.site._registry:
        fields = [field for field in model._meta.fields if not field.choices]
        for row in model._default_manager.all():
            for field in fields:
                found |= set(_strings(field.value_from_object(row), isinstance(field, JSONField)))
    return sorted((text for text in found if not re.fullmatch(r"[a-z]{,20}", text)), key=len, reverse=True)


def _strings(value: Any, is_json: bool) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif is_json and isinstance(value, dict | list):
        for part in [*value, *(value.values() if isinstance(value, dict) else ())]:
            yield from _strings(part, is_json)


class _Reader(HTMLParser):
    """Collects what a page shows: its texts, and the attributes that are read out or shown."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        is_icon = "material-symbols-outlined" in given.get("class", "")
        is_hidden = tag in NOT_SHOWN or is_icon or given.get("name") in ROWS or self._is_hidden()
        if not is_hidden:
            self._read_attributes(tag, given)
        if tag not in NO_END:
            self._open.append((tag, is_hidden))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._is_hidden():
            self._read_attributes(tag, {name: value or "" for name, value in attrs})

    def handle_endtag(self, tag: str) -> None:
        while tag in {open_tag for open_tag, _ in self._open}:
            if self._open.pop()[0] == tag:
                return

    def handle_data(self, data: str) -> None:
        if not self._is_hidden() and data.strip():
            self.texts.append(" ".join(data.split()))

    def _read_attributes(self, tag: str, given: dict[str, str]) -> None:
        shown = [given[name] for name in SHOWN_ATTRIBUTES if given.get(name)]
        if tag == "input" and given.get("type") in ("submit", "button"):
            shown.append(given.get("value", ""))
        self.texts.extend(" ".join(text.split()) for text in shown)

    def _is_hidden(self) -> bool:
        return any(is_hidden for _, is_hidden in self._open)
