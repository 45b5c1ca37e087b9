"""Forms of the operators' pages: read from a page's HTML, and filled in with odd values."""

import random
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

TOKEN = "csrfmiddlewaretoken"  # noqa: S105 - a name
ODD: tuple[str, ...] = (
    *("", " ", "0", "-1", "1.5", "9" * 19, "9" * 400, "1e400", "NaN", "null", "[]", '{"a": 1}', "on"),
    *("\x00", "a\x00b", "\u202e\u0000\ufffe", "💥" * 300, "<script>alert(1)</script>"),
    *("'; DROP TABLE orders_order; --", "%s%n%(a)s{0}", "../../../etc/passwd"),
    *("0001-01-01", "9999-12-31T23:59:59", "2026-13-45 99:99", "00000000-0000-0000-0000-000000000000"),
)
HUGE = "x" * 70_000
FILES = (
    *(b"", b"\xff\xfe\x00", b"a" * 200_000, b"\n" * 5_000),
    *(b"sku,name,price,quantity\nA,B,1,2\n", b"sku,name,price,quantity\nA,B,1e400,-2\n\x00"),
)
MOST_CHANGED = 3
REPEATED = 1_200
"""More fields than Django reads."""


@dataclass(frozen=True)
class Field:
    """One field of a form, with what a browser would send of it unchanged."""

    name: str
    value: str
    is_file: bool = False
    is_required: bool = False
    is_sent: bool = True
    """A box that is not ticked, and a button that is not pressed, are not."""


@dataclass(frozen=True)
class Form:
    """A form of a page: the paths of both, without a query, and its fields."""

    page: str
    action: str
    method: str
    fields: tuple[Field, ...]

    @property
    def kind(self) -> str:
        """What forms of the same kind on other pages have in common."""
        return (
            f"{self.method} {shape(self.action)} {','.join(sorted({shape(one.name) for one in self.fields}))}"
        )

    @property
    def reason(self) -> str:
        """The name of the field that needs a reason; empty without one."""
        return next((one.name for one in self.fields if one.name.endswith("reason") and one.is_required), "")


@dataclass(frozen=True)
class Page:
    forms: tuple[Form, ...]
    links: tuple[str, ...]


def shape(text: str) -> str:
    """The text with each number, UUID and row's name as one sign."""
    parts = (text or "").split("/")
    return "/".join("#" if any(letter.isdigit() for letter in part) else part for part in parts)


def read(html: str, path: str) -> Page:
    """The forms and links of the page at this path; addresses of other hosts are left out."""
    reader = _Reader(path)
    reader.feed(html)
    return Page(tuple(reader.forms), tuple(dict.fromkeys(reader.links)))


class _Reader(HTMLParser):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.forms: list[Form] = []
        self.links: list[str] = []
        self._action: tuple[str, str] | None = None
        self._fields: list[Field] = []
        self._select = self._textarea = ""

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in pairs}
        name = given.get("name", "")
        match tag:
            case "a" if path := self._own(given.get("href", "")):
                self.links.append(path)
            case "form":
                self._action = (
                    self._own(given.get("action") or self.path),
                    given.get("method", "get").upper(),
                )
                self._fields = []
            case "select":
                self._select = name
            case "option" if self._select:
                value = given.get("value", "")
                self._fields.append(Field(self._select, value, is_sent="selected" in given))
            case "textarea" if name:
                self._textarea = name
                self._add(Field(name, "", is_required="required" in given))
            case "input" | "button" if name:
                self._add(_field(tag, name, given))

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._textarea = ""
        elif tag == "form" and self._action:
            action, method = self._action
            if action:
                self.forms.append(Form(self.path, action, method, tuple(self._fields)))
            self._action = None

    def _add(self, one: Field) -> None:
        if self._action and one.name != TOKEN:
            self._fields.append(one)

    def _own(self, href: str) -> str:
        """The path of an address of the same host; empty for others."""
        parts = urlsplit(urljoin(f"http://shop{self.path}", href))
        return parts.path if parts.netloc == "shop" and parts.scheme == "http" else ""


def _field(tag: str, name: str, given: dict[str, str]) -> Field:
    kind = given.get("type", "submit" if tag == "button" else "text")
    is_sent = (
        "checked" in given if kind in ("checkbox", "radio") else kind not in ("submit", "button", "image")
    )
    value = given.get("value", "on" if kind == "checkbox" else "")
    return Field(name, value, is_file=kind == "file", is_required="required" in given, is_sent=is_sent)


@dataclass
class Filled:
    """What is sent: names and values, and files by name."""

    values: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)


def fill(form: Form, source: random.Random) -> Filled:
    """The form with one to three fields changed, dropped or doubled, and one of its buttons pressed."""
    filled = unchanged(form, source)
    names = [one.name for one in form.fields]
    for name in source.sample(names, min(len(names), source.randint(1, MOST_CHANGED))):
        _change(filled, name, source)
    if source.random() < 0.02:
        filled.values += [("filler", "x")] * REPEATED
    for one in form.fields:
        if one.is_file:
            filled.files[one.name] = (source.choice(ODD) or "file", source.choice(FILES))
    return filled


def unchanged(form: Form, source: random.Random, **changed: str) -> Filled:
    """The form as a browser sends it, with one of its buttons pressed; fields by name have another value."""
    values = [(one.name, one.value) for one in form.fields if one.is_sent and not one.is_file]
    buttons = [one for one in form.fields if not one.is_sent]
    if buttons and source.random() < 0.7:
        pressed = source.choice(buttons)
        values.append((pressed.name, pressed.value))
    kept = [(name, value) for name, value in values if name not in changed]
    return Filled(kept + list(changed.items()))


def _change(filled: Filled, name: str, source: random.Random) -> None:
    way = source.randrange(10)
    if way > 0:  # otherwise it is missing
        kept = filled.values if way == 1 else [pair for pair in filled.values if pair[0] != name]
        filled.values = [*kept, (name, source.choice([*ODD, HUGE]))]
    else:
        filled.values = [pair for pair in filled.values if pair[0] != name]
