"""A collector of traces for tests: an HTTP server in a thread that decodes what OTLP exporters post."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from foundation.tests.racing import wait_until
from scripts.tests import canned_shop
from scripts.tests.canned_shop import Answer


@dataclass(frozen=True)
class CollectedSpan:
    """A span as it was received; ids are hexadecimal, `parent` is empty for the first span of a trace."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]
    attributes: dict[str, Any]
    process: str
    is_error: bool
    text: str


@dataclass
class Collector:
    """What a collector has received so far."""

    address: str
    spans: list[CollectedSpan] = field(default_factory=list)

    def named(self, name: str) -> list[CollectedSpan]:
        return [span for span in self.spans if span.name == name]

    def wait_for(self, *names: str) -> list[CollectedSpan]:
        """The first span of each name, once all have been received."""
        wait_until(lambda: all(self.named(name) for name in names), seconds=20.0)
        return [self.named(name)[0] for name in names]

    def of_trace(self, trace: str) -> list[CollectedSpan]:
        return [span for span in self.spans if span.trace == trace]

    def is_connected(self, trace: str) -> bool:
        """Whether all spans of the trace, but for its first, have their parents among them."""
        spans = self.of_trace(trace)
        ids = {span.id for span in spans}
        return sum(span.parent not in ids for span in spans) == 1

    def ancestors(self, span: CollectedSpan) -> list[str]:
        """The names of the spans above it, the nearest first."""
        by_id = {one.id: one for one in self.spans}
        names = []
        while span.parent in by_id:
            span = by_id[span.parent]
            names.append(span.name)
        return names


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that accepts everything."""
    with canned_shop.running() as server:
        found = Collector(server.address)

        def accept(sent):
            assert sent.path == "/v1/traces"
            found.spans.extend(_decode(sent.raw))
            return Answer(200, b"")

        server.answer = accept
        yield found


def _decode(body):
    request = ExportTraceServiceRequest.FromString(body)
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield CollectedSpan(
                    name=span.name,
                    kind=span.kind,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    links=tuple(link.trace_id.hex() for link in span.links),
                    attributes=_attributes(span.attributes),
                    process=str(resource["firstcome.process"]),
                    is_error=span.status.code == 2,
                    # Without ids and times, whose bytes may spell anything.
                    text=f"{span.name} {span.attributes} {span.events} {span.status}",
                )


def _attributes(pairs):
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
