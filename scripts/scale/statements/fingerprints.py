"""Statements without their values: the same statement for other rows has the same fingerprint."""

import re

_NAMED = re.compile(r"%\(\w+\)s|%s")
_TEXT = re.compile(r"'(?:[^'\\]|\\.|'')*'")
_NUMBER = re.compile(r"(?<![\w`.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?\b")
_VALUE = r"(?:\?|NULL|TRUE|FALSE)"
_LIST = re.compile(rf"\b(IN|VALUES) ?\({_VALUE}(?: ?, ?{_VALUE})*\)", re.IGNORECASE)
_ROWS = re.compile(rf"(VALUES \(\?\))(?: ?, ?\({_VALUE}(?: ?, ?{_VALUE})*\))+", re.IGNORECASE)
_SAVEPOINT = re.compile(r"((?:RELEASE |ROLLBACK TO )?SAVEPOINT) .*", re.DOTALL)
_SPACE = re.compile(r"\s+")


def of(statement: str) -> str:
    """The statement with `?` for each value, and for each list of values however long it is."""
    text = _SPACE.sub(" ", statement.strip().rstrip(";"))
    text = _SAVEPOINT.sub(r"\1 ?", text)
    text = _NAMED.sub("?", text)
    text = _NUMBER.sub("?", _TEXT.sub("?", text))
    return _ROWS.sub(r"\1", _LIST.sub(r"\1 (?)", text))
