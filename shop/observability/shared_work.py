"""Work of one thread for several requests: its log lines have the ids of all, its span is linked to all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context

from shop.observability import logs, tracing


@contextmanager
def of_requests(name: str, contexts: Sequence[Context]) -> Iterator[None]:
    """Wrap the work; the contexts are those in which the requests were made."""
    if not tracing.is_on:
        with logs.bound_to_each(contexts):
            yield
        return
    origins = [context.run(tracing.traceparent) for context in contexts]
    with (
        logs.bound_to_each(contexts),
        tracing.shared(name, origins, {"firstcome.batch.requests": len(contexts)}),
    ):
        yield
