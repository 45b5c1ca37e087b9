"""Logs: one JSON object per line on standard error, each with the ids of what it is about (docs/logs.md).

A thread that works for several requests or sagas binds a function that reads their ids, which is called only
if a line is logged.
"""

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import Context, ContextVar
from itertools import islice
from queue import SimpleQueue
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from uuid_utils import uuid7

from foundation.observability import tracing
from foundation.repeated_work import RepeatedWork

VALID_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# As many as requests in a batch: its line may be the only one about them.
MOST_IDS = 256
MOST_LINES = 10_000
"""Lines that wait to be written; further ones are dropped."""
LONGEST_TEXT = 200
"""Of an error in a line."""
GATHER_SECONDS = 0.01
FLUSH_SECONDS = 0.5
"""For further lines before some are written; and how long the process waits at its end for all of them."""
Ids = dict[str, Any]
_request: ContextVar["bound_request | None"] = ContextVar("request", default=None)
_ids: ContextVar[Callable[[], Ids] | None] = ContextVar("ids", default=None)


def current_ids() -> Ids:
    """The ids of what this thread or coroutine works on, by the keys that log lines have."""
    return _read_ids(_request.get(), _ids.get())


def _read_ids(request: "bound_request | None", read_more: Callable[[], Ids] | None) -> Ids:
    ids: Ids = {}
    if request is not None:
        ids["request_id"] = request.request_id
        if request.account is not None:
            ids["account"] = request.account
        if request.api_key is not None:
            ids["api_key"] = request.api_key
    return {**ids, **read_more()} if read_more else ids


def merge_ids(each: Sequence[Ids]) -> Ids:
    """The ids of several things: the same keys for one; for more, lists under plural keys such as `sagas`."""
    if len(each) == 1:
        return dict(each[0])
    merged: dict[str, dict[Any, None]] = {}
    for ids in each:
        for key, value in ids.items():
            merged.setdefault(f"{key}s", {})[value] = None
    return {key: list(islice(values, MOST_IDS)) for key, values in merged.items()}


def _add_ids(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    for key, value in current_ids().items():
        event.setdefault(key, value)
    if tracing.is_on:
        event.update(tracing.current_ids())
    return event


def _add_task(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Add the task's name and id to Celery's own lines about it, which it passes as the record's `data`."""
    data = getattr(event.get("_record"), "data", None)
    if isinstance(data, Mapping) and "name" in data and "id" in data:
        event.update(task=data["name"], task_id=data["id"])
    return event


SHARED_PROCESSORS: list[Processor] = [
    _add_ids,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def choose_request_id(given: str | None) -> str:
    """The caller's `X-Request-ID` if it is valid, else a new one."""
    return given if given and VALID_REQUEST_ID.fullmatch(given) else str(uuid7())


class bound_request:  # noqa: N801 - reads as a word: `with logs.bound_request(...)`
    """Adds this request's id, and its account and API key once they are known, to log lines inside."""

    __slots__ = ("_token", "account", "api_key", "request_id")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.account: int | None = None
        self.api_key: int | None = None

    def __enter__(self) -> None:
        self._token = _request.set(self)

    def __exit__(self, *raised: object) -> None:
        _request.reset(self._token)


def note_caller(name: str, value: int | None) -> None:
    """Add the id of the `account`, or of the `api_key`, to further log lines of the current request."""
    request = _request.get()
    if request is not None:
        setattr(request, name, value)
    if tracing.is_on:
        tracing.annotate(tracing.attributes({name: value}))


@contextmanager
def bound_to(read_ids: Callable[[], Ids]) -> Iterator[None]:
    """Adds the ids that a function returns to log lines inside; it is called for each line."""
    token = _ids.set(read_ids)
    try:
        yield
    finally:
        _ids.reset(token)


def bound(**ids: Any) -> AbstractContextManager[None]:
    """Adds these ids to log lines inside, beside those that are bound already; None and "" are left out."""
    outer = _ids.get()
    inner = {
        key: value if isinstance(value, int | str | list) else str(value)
        for key, value in ids.items()
        if value not in (None, "")
    }
    return bound_to(lambda: {**outer(), **inner} if outer else inner)


def bound_to_each(contexts: Sequence[Context]) -> AbstractContextManager[None]:
    """Adds the ids of several requests to log lines of the thread that works for all of them."""
    return bound_to(
        lambda: merge_ids([_read_ids(context.get(_request), context.get(_ids)) for context in contexts])
    )


def _text(value: object) -> str:
    """An error, or another value that JSON has no form for, as a line has it."""
    return str(value)[:LONGEST_TEXT]


def _render(event: EventDict) -> str | None:
    """A line of ours; None for one with an exception, or a text or number that orjson doesn't write."""
    if "exc_info" not in event:
        with suppress(TypeError):
            return orjson.dumps(event, _text).decode()
    return None


class Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders a line of ours by itself: structlog would copy its record, which takes longer than the rest."""

    def format(self, record: logging.LogRecord) -> str:
        event: Any = record.msg
        line = _render(event) if isinstance(event, dict) else None
        return super().format(record) if line is None else line


def _hand_over(logger: WrappedLogger, method: str, event: EventDict) -> Any:
    """Where a thread alone writes lines, pass it ours without a record, which takes as long as the rest."""
    if _background and logging.root.handlers == [_background] and (line := _render(event)) is not None:
        _background.write(line)
        raise structlog.DropEvent
    return structlog.stdlib.ProcessorFormatter.wrap_for_formatter(logger, method, event)


def configure(*, level: str) -> None:
    """Send every logger of this process, ours and the libraries', through one JSON formatter."""
    # A line has neither its place in the code nor its thread: to find them takes a third of a line's time.
    logging._srcfile = None
    # Its process stays: gunicorn's own lines have it.
    logging.logThreads = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        Formatter(
            foreign_pre_chain=SHARED_PROCESSORS,
            processors=[
                _add_task,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(default=_text),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # Refusals are counted, not logged one by one: anybody may cause any number.
    logging.getLogger("django.request").addFilter(lambda line: getattr(line, "status_code", 500) == 500)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *SHARED_PROCESSORS, _hand_over],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class BackgroundHandler(logging.Handler):
    """Formats a record in the thread that logs it, which has its ids; a thread of its own writes it, with all
    that come in `GATHER_SECONDS`: to wake it takes longer than to format a line.
    """

    def __init__(self, stream: TextIO, *, most_lines: int = MOST_LINES) -> None:
        super().__init__()
        self._stream = stream
        self._most_lines = most_lines
        # Lines, and events to set once all before them are written. `put` is re-entrant: a finalizer that
        # logs may run in the midst of one.
        self._waiting: SimpleQueue[str | threading.Event] = SimpleQueue()
        RepeatedWork(self._write, name="log-lines", pause=lambda: 0).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.write(self.format(record))
        except Exception:
            self.handleError(record)

    def write(self, line: str) -> None:
        """Have the line written soon; it is dropped if `most_lines` wait."""
        if self._waiting.qsize() < self._most_lines:
            self._waiting.put(line)

    def flush(self) -> None:
        """Wait until all lines are written, for `FLUSH_SECONDS` at most; called at the end of the process."""
        written = threading.Event()
        self._waiting.put(written)
        written.wait(FLUSH_SECONDS)

    def _write(self) -> None:
        waiting = [self._waiting.get()]
        time.sleep(GATHER_SECONDS)
        waiting += [self._waiting.get() for _ in range(self._waiting.qsize())]
        # An error: nothing reads standard error any more, and there is no other place for the lines.
        with suppress(OSError, ValueError):
            self._stream.writelines(f"{line}\n" for line in waiting if isinstance(line, str))
            self._stream.flush()
        for one in waiting:
            if isinstance(one, threading.Event):
                one.set()


def write_in_background() -> None:
    """Let a thread write this process's lines: a full pipe at standard error would stop the event loop."""
    global _background
    root = logging.getLogger()
    _background = BackgroundHandler(sys.stderr)
    _background.setFormatter(root.handlers[0].formatter)
    root.handlers = [_background]


_background: BackgroundHandler | None = None
