"""What a task's message carries in its headers: the ids of the requests that caused it, and their traces.

A message for several requests continues the trace of one of them, and is linked to the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from shop.observability import logs, traceparents, tracing
from shop.observability.traceparents import Attributes, Kind

REQUEST_ID, REQUEST_IDS, TRACEPARENT, LINKS = "request_id", "request_ids", "traceparent", "trace_links"
Headers = Mapping[str, Any]
NO_HEADERS: Headers = {}
# A broker limits the size of a message's headers.
MOST = 50


def capture() -> Headers:
    """The headers for a task that the current request or task causes."""
    ids = logs.current_ids()
    headers = {name: ids[name] for name in (REQUEST_ID, REQUEST_IDS) if name in ids}
    return headers | {TRACEPARENT: tracing.traceparent()} if tracing.is_on else headers


def merge(each: Sequence[Headers]) -> Headers:
    """The headers of a message for several requests."""
    if len(each) == 1:
        return each[0]
    request_ids = list(dict.fromkeys(name for headers in each for name in _request_ids(headers)))
    merged: dict[str, Any] = {}
    if request_ids:
        merged = {REQUEST_IDS: request_ids[:MOST]} if len(request_ids) > 1 else {REQUEST_ID: request_ids[0]}
    traces = dict.fromkeys(headers[TRACEPARENT] for headers in each if headers.get(TRACEPARENT))
    # Recorded ones first: the first decides whether the message's own trace is recorded.
    first, *others = sorted(traces, key=lambda one: not traceparents.is_recorded(one)) or [""]
    if first:
        merged[TRACEPARENT] = first
    if others:
        merged[LINKS] = others[:MOST]
    return merged


def read(message: Any) -> Headers:
    """The headers of a received message, as attributes of Celery's request."""
    found = {name: getattr(message, name, None) for name in (REQUEST_ID, REQUEST_IDS, TRACEPARENT, LINKS)}
    return {name: value for name, value in found.items() if value}


@contextmanager
def sending(task: str, headers: Headers) -> Iterator[dict[str, Any]]:
    """The headers to send. Wraps the sending, which is a part of the trace."""
    if not tracing.is_on:
        yield dict(headers)
        return
    attributes = {"messaging.operation.type": "send", "messaging.operation.name": "send"}
    with _span(f"send {task}", task, headers, "producer", attributes):
        yield {**headers, TRACEPARENT: tracing.traceparent()}


@contextmanager
def running(task: str, headers: Headers, *, task_id: str = "") -> Iterator[None]:
    """Wraps the run of a task: its log lines have its name and id and those of its requests."""
    ids = {name: headers.get(name) for name in (REQUEST_ID, REQUEST_IDS)}
    with logs.bound(task=task, task_id=task_id, **ids):
        if not tracing.is_on:
            yield
            return
        attributes = {"messaging.operation.type": "process", "messaging.operation.name": "process"}
        if task_id:
            attributes["messaging.message.id"] = task_id
        with _span(f"process {task}", task, headers, "consumer", attributes):
            yield


def _request_ids(headers: Headers) -> Sequence[str]:
    return headers.get(REQUEST_IDS) or ([headers[REQUEST_ID]] if REQUEST_ID in headers else [])


def _span(name: str, task: str, headers: Headers, kind: Kind, attributes: Attributes) -> Any:
    carrier = {TRACEPARENT: headers[TRACEPARENT]} if headers.get(TRACEPARENT) else {}
    attributes = {"messaging.system": "celery", "messaging.destination.name": task, **attributes}
    return tracing.continued(name, carrier, attributes, kind=kind, links=headers.get(LINKS, ()))
