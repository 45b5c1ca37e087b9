"""Records traces with OpenTelemetry's SDK, and sends them by OTLP over HTTP in a thread of its own.

A span that ends is appended to a bounded queue. A full queue drops spans, and neither a collector that hangs
nor one that is away delays anything. Names and attributes follow OpenTelemetry's semantic conventions; ids of
the shop's things are `firstcome.` and their key in log lines. Texts of errors are not recorded, because they
may quote values. An error of OpenTelemetry's, or of a sampler or exporter chosen by its variables, is logged
and costs the span: what is traced goes on.
"""

import atexit
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shop.errors import FirstcomeError, Invalid, NotFound, Rejected
from shop.observability.traceparents import Attributes, Kind, is_recorded

FLUSH_SECONDS = 2.0
"""At the end of a process, for the spans that are still queued; past it they are lost."""
COMPLAINT_SECONDS = 60.0
EXPORT_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
)
KINDS = {kind.name.lower(): kind for kind in SpanKind}
_NOTHING: AbstractContextManager[None] = nullcontext()
_propagator = TraceContextTextMapPropagator()
P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)


def guarded(otherwise: Callable[[], T]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator: an error in the call is logged, and it returns `otherwise()`."""

    def decorate(call: Callable[P, T]) -> Callable[P, T]:
        @wraps(call)
        def calling(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return call(*args, **kwargs)
            except Exception:
                log.warning("a trace can't be recorded", exc_info=True)
                return otherwise()

        return calling

    return decorate


def _nothing() -> Any:
    return _NOTHING


def _no_headers() -> dict[str, str]:
    return {}


class Recorder:
    """What `shop.observability.tracing` calls, for one process."""

    def __init__(self, process: str) -> None:
        for name in (*EXPORT_LOGGERS, __name__):
            logging.getLogger(name).addFilter(_Complaints())
        own = {"service.name": "firstcome", "service.instance.id": str(uuid4()), "firstcome.process": process}
        # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say takes precedence.
        resource = Resource.create(own).merge(OTELResourceDetector().detect())
        # Sampler and bounds of the queue are read from the standard variables.
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._processor = BatchSpanProcessor(OTLPSpanExporter())
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("firstcome")
        atexit.register(self.stop)

    def stop(self) -> None:
        """Send what is queued, for `FLUSH_SECONDS` at most."""
        self._processor._batch_processor.shutdown(timeout_millis=int(FLUSH_SECONDS * 1000))

    @guarded(_nothing)
    def span(
        self, name: str, attributes: Attributes | None, kind: Kind
    ) -> "_Current | AbstractContextManager[None]":
        if not trace.get_current_span().is_recording():
            return _NOTHING
        return _Current(self._tracer.start_span(name, kind=KINDS[kind], attributes=attributes))

    @guarded(_nothing)
    def continued(
        self,
        name: str,
        carrier: Mapping[str, str],
        attributes: Attributes | None,
        kind: Kind,
        links: Sequence[str],
    ) -> "_Current":
        span = self._tracer.start_span(
            name,
            context=_propagator.extract(carrier, Context()),
            kind=KINDS[kind],
            attributes=attributes,
            links=[Link(_span_context(link)) for link in links],
        )
        return _Current(span)

    @guarded(_nothing)
    def shared(
        self, name: str, origins: Sequence[str], attributes: Attributes | None
    ) -> "_Current | AbstractContextManager[None]":
        recorded = [origin for origin in dict.fromkeys(origins) if is_recorded(origin)]
        if not recorded:
            return _NOTHING
        first, *others = recorded
        links = [Link(_span_context(other)) for other in others]
        began_at = time.time_ns()
        span = self._tracer.start_span(name, _context(first), attributes=attributes, links=links)

        def end_others() -> None:
            for other in others:
                self._tracer.start_span(
                    name,
                    _context(other),
                    attributes=attributes,
                    links=[Link(span.get_span_context())],
                    start_time=began_at,
                ).end()

        return _Current(span, at_end=end_others)

    def commit(self) -> "_Commit":
        return _Commit(self)

    @guarded(str)
    def traceparent(self) -> str:
        return self.headers().get("traceparent", "")

    @guarded(_no_headers)
    def headers(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier

    @guarded(lambda: None)
    def annotate(self, attributes: Attributes) -> None:
        trace.get_current_span().set_attributes(attributes)

    @guarded(lambda: None)
    def record_response(self, status: int, fails_from: int) -> None:
        span = trace.get_current_span()
        span.set_attribute("http.response.status_code", status)
        if status >= fails_from:
            span.set_attribute("error.type", str(status))
            span.set_status(Status(StatusCode.ERROR))

    def current_ids(self) -> dict[str, str]:
        current = trace.get_current_span().get_span_context()
        if not current.trace_flags.sampled:
            return {}
        return {
            "trace_id": trace.format_trace_id(current.trace_id),
            "span_id": trace.format_span_id(current.span_id),
        }


def _context(traceparent: str) -> Context:
    return _propagator.extract({"traceparent": traceparent}, Context())


def _span_context(traceparent: str) -> trace.SpanContext:
    return trace.get_current_span(_context(traceparent)).get_span_context()


class _Current:
    """A span that is the current one inside the block. It ends with the block; an error marks it."""

    __slots__ = ("_at_end", "_token", "span")

    def __init__(self, span: Span, *, at_end: Callable[[], None] | None = None) -> None:
        self.span = span
        self._at_end = at_end

    def __enter__(self) -> Span:
        self._token = contexts.attach(trace.set_span_in_context(self.span))
        return self.span

    @guarded(lambda: None)
    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        contexts.detach(self._token)
        if error is not None:
            mark_error(self.span, error)
        self.span.end()
        if self._at_end:
            self._at_end()


def mark_error(span: Span, error: BaseException) -> None:
    """Record the kind of the error. A refusal, which is the caller's to change, is no failure of the span."""
    name = error.code if isinstance(error, FirstcomeError) else type(error).__name__
    span.set_attribute("error.type", name)
    if not isinstance(error, Rejected | Invalid | NotFound):
        span.set_status(Status(StatusCode.ERROR))


class _Commit:
    """The COMMIT of a transaction: begun before its statement, ended when its transaction has ended."""

    __slots__ = ("_recorder", "_span")

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._span: _Current | AbstractContextManager[None] = _NOTHING

    def begin(self, connection: Any) -> None:
        attributes = {"db.system.name": connection.vendor, "db.operation.name": "COMMIT"}
        self._span = self._recorder.span("COMMIT", attributes, "client")
        self._span.__enter__()

    def __enter__(self) -> "_Commit":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._span.__exit__(kind, error, traceback)


class _Complaints(logging.Filter):
    """Lets one line a minute through: a collector that is away would add several for each batch of spans."""

    def __init__(self) -> None:
        super().__init__()
        self._next_at = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next_at:
            return False
        self._next_at = now + COMPLAINT_SECONDS
        return True
