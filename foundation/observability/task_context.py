"""What a task's message carries in its headers: the ids of the requests that caused it, and a trace.

A message for several requests continues the trace of one of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from foundation.observability import logs, tracing
from foundation.values import Values

REQUEST_ID = "request_id"
REQUEST_IDS = "request_ids"
TRACEPARENT = "traceparent"
Headers = Mapping[str, Any]
NO_HEADERS: Headers = {}
# A broker limits the size of a message's headers.
MOST = 50


def capture() -> Headers:
    ids = logs.current_ids()
    headers = {name: ids[name] for name in (REQUEST_ID, REQUEST_IDS) if name in ids}
    return headers | {TRACEPARENT: tracing.traceparent()} if tracing.is_on else headers


def merge(each: Sequence[Headers]) -> Headers:
    if len(each) == 1:
        return each[0]
    names = (headers.get(REQUEST_IDS) or [headers.get(REQUEST_ID)] for headers in each)
    request_ids = list(dict.fromkeys(filter(None, chain.from_iterable(names))))
    merged: Values = {}
    if request_ids:
        merged = {REQUEST_IDS: request_ids[:MOST]} if len(request_ids) > 1 else {REQUEST_ID: request_ids[0]}
    traces = [headers[TRACEPARENT] for headers in each if headers.get(TRACEPARENT)]
    # A recorded one if there is one: it decides whether the message's own spans are recorded.
    return merged | {TRACEPARENT: max(traces, key=tracing.is_recorded)} if traces else merged


def read(message: Any) -> Headers:
    found = {name: getattr(message, name, None) for name in (REQUEST_ID, REQUEST_IDS, TRACEPARENT)}
    return {name: value for name, value in found.items() if value}


@contextmanager
def sending(task: str, headers: Headers) -> Iterator[Values]:
    """The headers to send. Wraps the sending, which is a part of the trace."""
    with _span("send", task, headers, kind="producer"):
        yield {**headers, TRACEPARENT: tracing.traceparent()} if tracing.is_on else dict(headers)


@contextmanager
def running(task: str, headers: Headers, *, task_id: str = "") -> Iterator[None]:
    """Wraps the run of a task: its log lines have its name and id and those of its requests."""
    ids = {name: headers.get(name) for name in (REQUEST_ID, REQUEST_IDS)}
    with (
        logs.bound(task=task, task_id=task_id, **ids),
        _span("process", task, headers, kind="consumer", task_id=task_id),
    ):
        yield


def _span(operation: str, task: str, headers: Headers, *, kind: str, task_id: str = "") -> Any:
    attributes = {
        "messaging.system": "celery",
        "messaging.destination.name": task,
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
    } | ({"messaging.message.id": task_id} if task_id else {})
    return tracing.continued(f"{operation} {task}", headers.get(TRACEPARENT, ""), attributes, kind=kind)
