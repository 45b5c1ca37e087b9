"""Traces by OpenTelemetry, recorded only where `OTEL_EXPORTER_OTLP_ENDPOINT` is set.

Without it nothing here imports OpenTelemetry, `is_on` stays false, and every function does nothing. A trace
starts at a request, a task or a batch of the issuer; `span` adds to the trace that is under way, and adds
nothing outside of one. A trace is passed on as the text of W3C's `traceparent`.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from shop.observability.traceparents import Attributes, Kind

if TYPE_CHECKING:
    from shop.observability import otel

is_on = False
"""Whether this process records traces: set by `start`, before its first request or task."""
_NOTHING: AbstractContextManager[None] = nullcontext()
_otel: "otel.Recorder"


def start(process: str, *, endpoint: str) -> None:
    """Record traces from now on if there is an endpoint. `process` is web, worker, issuer or beat."""
    global is_on, _otel
    if not endpoint or is_on:
        return
    from shop.observability import otel

    _otel = otel.Recorder(process)
    is_on = True


def span(name: str, attributes: Attributes | None = None, *, kind: Kind = "internal") -> Any:
    """A part of the trace that is under way, for `with`."""
    return _otel.span(name, attributes, kind) if is_on else _NOTHING


def continued(
    name: str,
    carrier: Mapping[str, str],
    attributes: Attributes | None = None,
    *,
    kind: Kind,
    links: Sequence[str] = (),
) -> Any:
    """A part of the trace that the carrier's headers name, or the start of a new one, linked to others."""
    return _otel.continued(name, carrier, attributes, kind, links) if is_on else _NOTHING


def shared(name: str, origins: Sequence[str], attributes: Attributes | None = None) -> Any:
    """Work for several traces: a part of the first, linked to the others, each of which gets a part like it.

    Traces that are not recorded, and empty texts, are left out; without a recorded one it is no span.
    """
    return _otel.shared(name, origins, attributes) if is_on else _NOTHING


def commit() -> Any:
    """Around a transaction: its `begin(connection)`, called just before COMMIT, starts the span."""
    return _otel.commit() if is_on else _NO_COMMIT


def traceparent() -> str:
    """The trace that is under way, as the header that passes it on; empty without one."""
    return _otel.traceparent() if is_on else ""


def headers() -> dict[str, str]:
    """The headers that pass the trace on to another system that the operator owns."""
    return _otel.headers() if is_on else {}


def attributes(ids: Attributes) -> dict[str, Any]:
    """Ids, by the keys of log lines, as attributes of a span; None is left out."""
    return {
        f"firstcome.{key}": value if isinstance(value, int | str | list) else str(value)
        for key, value in ids.items()
        if value is not None
    }


def annotate(attributes: Attributes) -> None:
    """Add attributes to the span that is under way."""
    if is_on:
        _otel.annotate(attributes)


def record_response(status: int, *, fails_from: int) -> None:
    """Record an HTTP response in the span that is under way: a failure from this status on."""
    if is_on:
        _otel.record_response(status, fails_from)


def current_ids() -> dict[str, str]:
    """`trace_id` and `span_id` for log lines; empty if no trace is recorded here."""
    return _otel.current_ids() if is_on else {}


class _NoCommit:
    """A commit that is not recorded."""

    def begin(self, connection: Any) -> None:
        pass

    def __enter__(self) -> "_NoCommit":
        return self

    def __exit__(self, *raised: object) -> None:
        pass


_NO_COMMIT = _NoCommit()
