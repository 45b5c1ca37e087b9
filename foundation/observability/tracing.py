"""Traces by OpenTelemetry, recorded only where `OTEL_EXPORTER_OTLP_ENDPOINT` is set; else nothing imports it.

A trace starts at a request, a task or a batch of the issuer, and is passed on as W3C's `traceparent`. Names
follow the semantic conventions; ids of the shop's things are `firstcome.` and their key in log lines. Texts
of errors are not recorded, because they may quote values.
"""

import atexit
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from uuid import uuid4

from django.core.exceptions import ImproperlyConfigured

from foundation.errors import FirstcomeError, Invalid, NotFound, Rejected
from foundation.values import Values

FLUSH_SECONDS = 2.0
"""At the end of a process, for the spans that are still queued; past it they are lost."""
Attributes = Mapping[str, Any]

is_on = False
"""Whether this process records traces: set by `start`, before its first request or task."""
_NOTHING = nullcontext()
# OpenTelemetry's module, tracer and propagator, which `start` imports.
_trace: Any = None
_tracer: Any = None
_propagator: Any = None


def start(process: str, *, endpoint: str) -> None:
    """Record traces from now on if there is an endpoint. `process` is web, worker, issuer or beat."""
    global is_on, _trace, _tracer, _propagator
    if not endpoint or is_on:
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError as error:
        raise ImproperlyConfigured(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: install the extra "
            "`traces` (requirements.txt has it), or unset the variable."
        ) from error

    # Its warnings about attempts that are repeated would fill the log while the collector is away.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    own = {"service.name": "firstcome", "service.instance.id": str(uuid4()), "firstcome.process": process}
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say takes precedence. Sampler and bounds of the
    # queue are read from the standard variables too.
    resource = Resource.create(own).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    processor = BatchSpanProcessor(OTLPSpanExporter())
    provider.add_span_processor(processor)
    atexit.register(processor._batch_processor.shutdown, timeout_millis=int(FLUSH_SECONDS * 1000))
    _trace = trace
    _tracer = provider.get_tracer("firstcome")
    _propagator = TraceContextTextMapPropagator()
    is_on = True


def span(name: str, attributes: Attributes | None = None, *, kind: str = "internal") -> Any:
    if not is_on or not _trace.get_current_span().is_recording():
        return _NOTHING
    return _current(_tracer.start_span(name, kind=_trace.SpanKind[kind.upper()], attributes=attributes))


def continued(name: str, origin: str, attributes: Attributes, *, kind: str, links: Sequence[str] = ()) -> Any:
    """A part of the trace `origin`, or without one the start of a new one, linked to others."""
    if not is_on:
        return _NOTHING
    return _current(
        _tracer.start_span(
            name,
            _context(origin),
            kind=_trace.SpanKind[kind.upper()],
            attributes=attributes,
            links=[_link(one) for one in links],
        )
    )


@contextmanager
def shared(name: str, origins: Sequence[str], attributes: Attributes | None = None) -> Iterator[None]:
    """Work for several traces: a part of the first, linked to the others, each of which gets a part like it.

    Traces that are not recorded, and empty texts, are left out; without a recorded one it is no span.
    """
    recorded = [origin for origin in dict.fromkeys(origins) if is_recorded(origin)] if is_on else []
    if not recorded:
        yield
        return
    first, *others = recorded
    links = [_link(other) for other in others]
    span = _tracer.start_span(name, _context(first), attributes=attributes, links=links)
    try:
        with _current(span):
            yield
    finally:
        back = [_trace.Link(span.get_span_context())]
        began_at = getattr(span, "start_time", None)
        for other in others:
            _tracer.start_span(
                name, _context(other), attributes=attributes, links=back, start_time=began_at
            ).end()


@contextmanager
def _current(span: Any) -> Iterator[None]:
    """Make it the current span of the block, and end it with the block; a refusal is no failure of it."""
    with _trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as error:
            name = error.code if isinstance(error, FirstcomeError) else type(error).__name__
            span.set_attribute("error.type", name)
            if not isinstance(error, Rejected | Invalid | NotFound):
                span.set_status(_trace.StatusCode.ERROR)
            raise


def _context(origin: str) -> Any:
    return _propagator.extract({"traceparent": origin})


def _link(origin: str) -> Any:
    return _trace.Link(_trace.get_current_span(_context(origin)).get_span_context())


def is_recorded(traceparent: str) -> bool:
    """Whether this trace is recorded; false for an empty text."""
    return bool(traceparent) and int(traceparent[-2:], 16) & 1 == 1


def headers() -> dict[str, str]:
    """The headers that pass the trace on to another system that the operator owns."""
    carrier: dict[str, str] = {}
    if is_on:
        _propagator.inject(carrier)
    return carrier


def traceparent() -> str:
    """The trace that is under way, as the header that passes it on; empty without one."""
    return headers().get("traceparent", "") if is_on else ""


def attributes(ids: Attributes) -> Values:
    """Ids, by the keys of log lines, as attributes of a span; None is left out."""
    return {
        f"firstcome.{key}": value if isinstance(value, int | str | list) else str(value)
        for key, value in ids.items()
        if value is not None
    }


def annotate(attributes: Attributes) -> None:
    if is_on:
        _trace.get_current_span().set_attributes(attributes)


def record_response(status: int, *, fails_from: int) -> None:
    """Record an HTTP response in the span that is under way: a failure from this status on."""
    if is_on:
        annotate({"http.response.status_code": status})
        if status >= fails_from:
            annotate({"error.type": str(status)})
            _trace.get_current_span().set_status(_trace.StatusCode.ERROR)


def current_ids() -> dict[str, str]:
    """`trace_id` and `span_id` for log lines; empty if no trace is recorded here."""
    current = _trace.get_current_span().get_span_context() if is_on else None
    if current is None or not current.trace_flags.sampled:
        return {}
    return {
        "trace_id": _trace.format_trace_id(current.trace_id),
        "span_id": _trace.format_span_id(current.span_id),
    }
