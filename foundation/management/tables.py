"""Tables that management commands print."""

from collections.abc import Sequence


def table(*lines: Sequence[str]) -> str:
    """The lines, of which the first is the header, in columns as wide as their longest text."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ([text.ljust(width) for text, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)
