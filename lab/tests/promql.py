"""PromQL, read as far as it takes to find the metrics that an expression asks for."""

import re

LEFT_OUT = (
    r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'',
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)",
    r"\{[^}]*\}",
    r"\[[^\]]*\]",
)
"""Strings, lists of labels, selectors and ranges, in the order in which they are taken out."""
NAME = re.compile(r"(?<![\w:.])([a-zA-Z_:][\w:]*)\b(?!\s*\()")
WORDS = {
    *("and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"),
    *("group_left", "group_right", "inf", "nan", "start", "end"),
}


def metric_names(expression: str) -> set[str]:
    """The metrics and recorded series that the expression selects."""
    for pattern in LEFT_OUT:
        # A space, so that what stood on both sides is not read as one name.
        expression = re.sub(pattern, " ", expression)
    return {name for name in NAME.findall(expression) if name.lower() not in WORDS}
