"""`make messages`: the catalogs of translated texts, django.po and .mo in `<app>/locale`.

Babel reads and writes them, so that no program of the system is needed. The files have no dates and no line
numbers, and are sorted: they change only where texts change. docs/translating.md says how to work with them.
"""

import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

from scripts.stack import places

LANGUAGES = ("ko",)
"""Those of `LANGUAGES` in shop/settings.py except English, in which the code is written."""
# Their texts are shown in the admin, and they have no Korean catalogs of their own. Ours is that of `shop`.
UNTRANSLATED_PACKAGES = ("unfold", "django_otp/plugins/otp_totp", "django_otp/plugins/otp_static")
# The catalogs that Django finds by itself: of what they translate nothing is repeated.
TRANSLATED_PACKAGES = ("django/conf", "django/contrib/admin", "django/contrib/auth")
KEYWORDS = {
    "_": None,
    **dict.fromkeys(("gettext", "gettext_lazy", "gettext_noop"), None),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (1, 2)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), ((1, "c"), 2)),
    **dict.fromkeys(("npgettext", "npgettext_lazy"), ((1, "c"), 2, 3)),
}
PLACEHOLDER = re.compile(r"%\(\w+\)[\d.]*[a-z]|%[\d.]*[a-zA-Z]|%%|\{\w*(?:![rs])?(?::[^{}]*)?\}")
Key = tuple[str | None, str]
Extracted = tuple[Any, list[str], str | None]
"""A text or its plural forms, comments for translators, and the context."""


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
        return 1 if findings else 0
    for app in places.APPS:
        update(app)
    return 0


def update(app: str) -> None:
    """Write the app's catalogs as its code has the texts now; the translations stay, by their text."""
    extracted = _extract_app(app)
    for language in LANGUAGES:
        path = po_path(app, language)
        catalog = catalog_of(extracted, read(path, language), language)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(po_bytes(catalog))
        path.with_suffix(".mo").write_bytes(_mo_bytes(catalog))
        missing = sum(not _is_translated(message) for message in texts(catalog))
        print(f"{path.relative_to(places.PROJECT)}: {len(catalog)} texts, {missing} not translated")


def find_faults() -> Iterator[str]:
    """What is wrong with the catalogs, a line each."""
    translations: dict[tuple[str, Key], tuple[str, str]] = {}
    for app, language in itertools.product(places.APPS, LANGUAGES):
        path = po_path(app, language)
        name, compiled = str(path.relative_to(places.PROJECT)), path.with_suffix(".mo")
        kept = read(path, language)
        expected = catalog_of(_extract_app(app), kept, language)
        yield from (f"{name}: {finding}" for finding in _findings(expected))
        if not path.exists() or path.read_bytes() != po_bytes(expected):
            yield f"{name}: is not what the code says: run `make messages`"
        if not compiled.exists() or compiled.read_bytes() != _mo_bytes(expected):
            yield f"{compiled.relative_to(places.PROJECT)}: is out of date: run `make messages`"
        for message in texts(kept):
            # A text with a plural in one app and without in another has the same singular.
            singular = next(iter(_forms(message.string)), "")
            first = translations.setdefault((language, _key(message.id, message.context)), (name, singular))
            if first[1] != singular:
                yield f"{name}: {message.id!r} is translated otherwise than in {first[0]}"


def _findings(catalog: Catalog) -> Iterator[str]:
    for message in texts(catalog):
        if message.fuzzy:
            yield f"{message.id!r} is fuzzy: look at its translation, and delete the line with `fuzzy`"
        # Of a plural, the last form has all values: "one coupon" may do without its number.
        forms, wanted = _forms(message.string), _placeholders(_forms(message.id)[-1])
        if not _is_translated(message):
            yield f"{message.id!r} is not translated"
        elif len(forms) != (catalog.num_plurals if message.pluralizable else 1):
            yield f"{message.id!r} needs {catalog.num_plurals} forms"
        for form in filter(None, forms):
            if _placeholders(form) != wanted:
                yield f"{message.id!r} has the values {wanted}, its translation {_placeholders(form)}"


def _placeholders(text: str) -> list[str]:
    """The placeholders in a text, sorted: a translation may have them in another order."""
    return sorted(PLACEHOLDER.findall(text))


def _extract_app(app: str) -> list[Extracted]:
    """The marked texts of an app."""
    found = list(_extract_files(_sources(places.PROJECT / app)))
    if app != "shop":
        return found
    known = {key for name in TRANSLATED_PACKAGES for key in _translated_by(_installed(name))}
    packages = [path for name in UNTRANSLATED_PACKAGES for path in _sources(_installed(name))]
    return found + [each for each in _extract_files(packages) if _key(each[0], each[2]) not in known]


def _sources(folder: Path) -> list[Path]:
    left_out = {"tests", "migrations", "node_modules", "import_export"}
    return sorted(
        path
        for suffix in ("py", "html", "txt")
        for path in folder.rglob(f"*.{suffix}")
        if left_out.isdisjoint(path.relative_to(folder).parts)
    )


def _extract_files(paths: Iterable[Path]) -> Iterator[Extracted]:
    for path in paths:
        text = path.read_text()
        if path.suffix != ".py":
            # What is no text becomes a row of X, whose indentation is not that of Python.
            text = re.sub(r"^[ \t]+", "", templatize(text, origin=str(path)), flags=re.MULTILINE)
        elif "gettext" not in text and " as _" not in text:
            continue
        source = BytesIO(text.encode())
        for _, message, comments, context in extract("python", source, KEYWORDS, ("Translators:",)):
            yield message, list(comments), context


def _installed(package: str) -> Path:
    """The folder of an installed package."""
    return next(Path(folder, package) for folder in sys.path if Path(folder, package).is_dir())


def _translated_by(package: Path) -> set[Key]:
    """What a package's own catalogs translate into every one of our languages."""
    paths = [package / "locale" / language / "LC_MESSAGES" / "django.mo" for language in LANGUAGES]
    catalogs = [texts(read_mo(BytesIO(path.read_bytes()))) for path in paths]
    return set.intersection(*({_key(one.id, one.context) for one in catalog} for catalog in catalogs))


def catalog_of(extracted: Iterable[Extracted], kept: Catalog, language: str) -> _Catalog:
    """The extracted texts with the translations that a catalog has for them."""
    catalog = _Catalog(locale=language, fuzzy=False)
    for text, comments, context in extracted:
        catalog.add(text, auto_comments=comments, context=context)
    for message in texts(catalog):
        known = kept.get(_forms(message.id)[0], context=message.context)
        if known is None:
            continue
        message.user_comments = known.user_comments
        if "fuzzy" in known.flags:
            message.flags.add("fuzzy")
        if known.pluralizable == message.pluralizable:
            message.string = known.string
    return catalog


def po_path(app: str, language: str) -> Path:
    return places.PROJECT / app / "locale" / language / "LC_MESSAGES" / "django.po"


def read(path: Path, language: str) -> Catalog:
    """A catalog as it is written; empty without the file."""
    return read_po(BytesIO(path.read_bytes() if path.exists() else b""), locale=language)


def po_bytes(catalog: _Catalog) -> bytes:
    """The catalog as a .po file, each text on a line of its own."""
    header = "".join(f'"{name}: {value}\\n"\n' for name, value in catalog.mime_headers)
    file = BytesIO()
    write_po(
        file, catalog, width=0, no_location=True, omit_header=True, sort_output=True, ignore_obsolete=True
    )
    return f'msgid ""\nmsgstr ""\n{header}\n'.encode() + file.getvalue().strip() + b"\n"


def _mo_bytes(catalog: _Catalog) -> bytes:
    """The catalog as Django reads it."""
    file = BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def texts(catalog: Catalog) -> list[Message]:
    """The messages of a catalog without its header."""
    return [message for message in catalog if message.id]


def _forms(text: str | Sequence[str] | None) -> Sequence[str]:
    """The forms of a text or translation: one, or those of a plural."""
    return [text] if isinstance(text, str) else list(text or ())


def _is_translated(message: Message) -> bool:
    return bool(_forms(message.string)) and all(_forms(message.string))


def _key(text: str | Sequence[str], context: str | None) -> Key:
    return context, _forms(text)[0]


if __name__ == "__main__":
    sys.exit(main())
