"""W3C's `traceparent`, the text that passes a trace on: version, trace, span, and whether it is recorded."""

from collections.abc import Mapping
from typing import Any, Literal

Attributes = Mapping[str, Any]
Kind = Literal["internal", "server", "client", "producer", "consumer"]


def is_recorded(traceparent: str) -> bool:
    """Whether the trace is recorded; false for an empty text."""
    return bool(traceparent) and int(traceparent[-2:], 16) & 1 == 1


def is_same_trace(one: str, other: str) -> bool:
    """Whether both are of the same trace; false for empty texts."""
    return bool(one) and one.split("-")[1:2] == other.split("-")[1:2]
