"""The `.env` file, read as django-environ reads it, except that a line it would skip is an error here."""

import re
from pathlib import Path

from scripts.setup_error import SetupError

_ASSIGNMENT = re.compile(r"(?:export )?([A-Za-z_][A-Za-z_0-9]*)=(.*)", re.DOTALL)


def read(path: Path) -> dict[str, str]:
    """The settings in the file, if there is one. Raises SetupError naming the line that is wrong."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SetupError(f"{path.name} can't be read: {error.strerror}") from error
    settings: dict[str, str] = {}
    for number, line in enumerate(content.splitlines(), 1):
        try:
            settings |= _parse(line)
        except ValueError as error:
            raise SetupError(f"{path.name} line {number}: {error}") from error
    return settings


def _parse(line: bytes) -> dict[str, str]:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError("this is not UTF-8 text") from error
    if not text or text.startswith("#"):
        return {}
    match = _ASSIGNMENT.fullmatch(text)
    if match is None:
        raise ValueError(f"expected NAME=value, found {text!r}")
    name, value = match.groups()
    return {name: _unquote(value)}


def _unquote(value: str) -> str:
    if "\0" in value:
        raise ValueError("a value can't hold a NUL character")
    if value[:1] in {"'", '"'}:
        if len(value) < 2 or value[-1] != value[0]:
            raise ValueError(f"the quote {value[0]} is not closed")
        inner = value[1:-1]
        return inner if value[0] == "'" else re.sub(r"\\([^rnt])", r"\1", inner)
    if re.search(r"\s#", value):
        raise ValueError("a comment needs a line of its own (or quote the value)")
    return value.strip()
