"""PromQL, read as far as it takes to find the metrics that an expression asks for."""

import re
from collections.abc import Iterator

_STRINGS = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'')
_LABEL_LISTS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_SELECTORS = re.compile(r"\{[^}]*\}")
_RANGES = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"(?<![\w:.])([a-zA-Z_:][\w:]*)\b(?!\s*\()")
_WORDS = {
    *("and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"),
    *("group_left", "group_right", "inf", "nan", "start", "end"),
}


def metric_names(expression: str) -> set[str]:
    """The metrics and recorded series that the expression selects."""
    return set(_names(expression))


def _names(expression: str) -> Iterator[str]:
    for pattern in (_STRINGS, _LABEL_LISTS, _SELECTORS, _RANGES):
        # A space, so that what stood on both sides is not read as one name.
        expression = pattern.sub(" ", expression)
    yield from (name for name in _NAME.findall(expression) if name.lower() not in _WORDS)
