"""`make generate`: the catalogs of translated texts, django.po and .mo in `<app>/locale`.

Babel reads and writes them, so that no program of the system is needed. The files have no dates and no line
numbers, and are sorted: they change only where texts change. docs/translating.md says how to work with them.
"""

import itertools
import re
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir, extract_python
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

from scripts.stack import Words, places

LANGUAGES = ("ko",)  # Those of `LANGUAGES` in shop/settings.py except English, in which the code is written
# Their texts are shown in the admin, and they have no Korean catalogs of their own; `foundation` has them.
UNTRANSLATED_PACKAGES = ("unfold", "django_otp/plugins/otp_totp", "django_otp/plugins/otp_static")
# The catalogs that Django finds by itself: of what they translate nothing is repeated, but for
# what `foundation` translates otherwise, which wins (`LOCALE_PATHS`).
TRANSLATED_PACKAGES = ("django/conf", "django/contrib/admin", "django/contrib/auth")
FILE = Path("LC_MESSAGES", "django.po")
LEFT_OUT = {"tests", "migrations", "node_modules", "import_export"}
LAZY = {f"{name}_lazy": DEFAULT_KEYWORDS[name] for name in ("gettext", "ngettext", "pgettext", "npgettext")}
COMMENTS = ("Translators:",)
TEMPLATES = "scripts.catalogs:extract_template"
KEYWORDS = DEFAULT_KEYWORDS | LAZY | {"gettext_noop": None, "mark": None}
PLACEHOLDER = re.compile(r"%\(\w+\)[\d.]*[a-z]|%[\d.]*[a-zA-Z]|%%|\{\w*(?:![rs])?(?::[^{}]*)?\}")


class _Catalog(Catalog):
    """A catalog whose header has no dates and no versions."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        return [
            ("Language", str(self.locale_identifier)),
            ("MIME-Version", "1.0"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Transfer-Encoding", "8bit"),
            ("Plural-Forms", self.plural_forms),
        ]


def main() -> int:
    if "--check" in sys.argv:
        findings = list(find_faults())
        print("\n".join(findings))
        if findings:
            return 1
        return 0
    for app in places.APPS:
        update(app)
    return 0


def update(app: str) -> None:
    """Write the app's catalogs as its code has the texts now; the translations stay, by their text."""
    for language in LANGUAGES:
        path = po_path(app, language)
        catalog = _as_the_code_says(app, language)
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix, content in zip((".po", ".mo"), _written(catalog), strict=True):
            path.with_suffix(suffix).write_bytes(content)
        print(f"{path.relative_to(places.PROJECT)}: {len(catalog)} texts", *_findings(catalog), sep="\n  ")


def find_faults() -> Iterator[str]:
    """What is wrong with the catalogs, a line each."""
    translations: dict[Any, tuple[str, str]] = {}
    for app, language in itertools.product(places.APPS, LANGUAGES):
        path = po_path(app, language)
        expected = _as_the_code_says(app, language)
        name = str(path.relative_to(places.PROJECT))
        po, mo = _written(expected)
        for finding in _findings(expected):
            yield f"{name}: {finding}"
        if not path.exists() or path.read_bytes() != po:
            yield f"{name}: is not what the code says: run `make generate`"
        elif path.with_suffix(".mo").read_bytes() != mo:
            yield f"{name}: its .mo is out of date: run `make generate`"
        for message in _texts(expected):
            # A text with a plural in one app and without in another has the same singular.
            singular = _forms(message.string)[0]
            key = (language, message.context, _forms(message.id)[0])
            first = translations.setdefault(key, (name, singular))
            if first[1] != singular:
                yield f"{name}: {message.id!r} is translated otherwise than in {first[0]}"


def _findings(catalog: Catalog) -> Iterator[str]:
    for message in _texts(catalog):
        if message.fuzzy:
            yield f"{message.id!r} is fuzzy: look at its translation, and delete the line with `fuzzy`"
        # Of a plural, the last form has all values: "one coupon" may do without its number.
        forms = _forms(message.string)
        wanted = sorted(PLACEHOLDER.findall(_forms(message.id)[-1]))
        if not all(forms):
            yield f"{message.id!r} is not translated"
        elif len(forms) != (catalog.num_plurals if message.pluralizable else 1):
            yield f"{message.id!r} needs {catalog.num_plurals} forms"
        for form in filter(None, forms):
            # A translation may have them in another order.
            found = sorted(PLACEHOLDER.findall(form))
            if found != wanted:
                yield f"{message.id!r} has the values {wanted}, its translation {found}"


def _as_the_code_says(app: str, language: str) -> _Catalog:
    """The texts that are marked in the app, with the translations that its catalog has for them."""
    path = po_path(app, language)
    found = Catalog()
    catalog = _Catalog(locale=language, fuzzy=False)
    theirs = []
    if app == "foundation":
        for name in UNTRANSLATED_PACKAGES:
            _extract(found, _installed(name))
        for name in TRANSLATED_PACKAGES:
            file = (_installed(name) / "locale" / language / FILE).with_suffix(".mo")
            theirs += _texts(read_mo(BytesIO(file.read_bytes())))
        for message in theirs:
            found.delete(message.id, message.context)
    _extract(found, places.PROJECT / app)
    if path.exists():
        for message in _texts(read_po(BytesIO(path.read_bytes()), locale=language)):
            catalog[message.id] = message
        for message in theirs:
            if mine := catalog.get(message.id, message.context):
                found.add(mine.id, mine.string, context=mine.context)
    catalog.update(found, no_fuzzy_matching=True)
    return catalog


def _extract(catalog: Catalog, folder: Path) -> None:
    methods = [("**.py", "python"), ("**.html", TEMPLATES), ("**.txt", TEMPLATES)]
    is_looked_at = lambda path: Path(path).name not in LEFT_OUT  # noqa: E731
    found = extract_from_dir(folder, methods, None, KEYWORDS, COMMENTS, directory_filter=is_looked_at)
    for _, _, text, comments, context in found:
        catalog.add(text, auto_comments=comments, context=context)


def extract_template(file: IO[bytes], keywords: Any, comment_tags: Any, options: Any) -> Iterator[Any]:
    """The texts of a template: what is no text becomes a row of X, without the indentation of HTML."""
    text = re.sub(r"^[ \t]+", "", templatize(file.read().decode()), flags=re.MULTILINE)
    return extract_python(BytesIO(text.encode()), keywords, comment_tags, options)


def _installed(package: str) -> Path:
    return next(Path(folder, package) for folder in sys.path if Path(folder, package).is_dir())


def po_path(app: str, language: str) -> Path:
    return places.PROJECT / app / "locale" / language / FILE


def _written(catalog: _Catalog) -> tuple[bytes, bytes]:
    """What its .po and its .mo are to contain."""
    header = "".join(f'"{name}: {value}\\n"\n' for name, value in catalog.mime_headers)
    po = BytesIO()
    mo = BytesIO()
    write_po(po, catalog, width=0, no_location=True, omit_header=True, sort_output=True, ignore_obsolete=True)
    write_mo(mo, catalog)
    return f'msgid ""\nmsgstr ""\n{header}\n'.encode() + po.getvalue().strip() + b"\n", mo.getvalue()


def _texts(catalog: Catalog) -> list[Message]:
    return [message for message in catalog if message.id]


def _forms(text: str | Words | None) -> Words:
    """The forms of a text or translation: one, or those of a plural."""
    if text is None or isinstance(text, str):
        return [text or ""]
    return list(text)


if __name__ == "__main__":
    sys.exit(main())
