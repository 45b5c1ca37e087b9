"""Logs: one JSON object per line on standard error, each with the request's id."""

import logging
import re
import sys
from contextvars import ContextVar

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from uuid_utils import uuid7

VALID_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_request_id: ContextVar[str] = ContextVar("request_id", default="")


def _add_request_id(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    name = _request_id.get()
    if name:
        event.setdefault("request_id", name)
    return event


SHARED_PROCESSORS: list[Processor] = [
    _add_request_id,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def choose_request_id(given: str | None) -> str:
    """The caller's `X-Request-ID` if it is valid, else a new one."""
    return given if given and VALID_REQUEST_ID.fullmatch(given) else str(uuid7())


class bound_request_id:  # noqa: N801 - reads as a word: `with logs.bound_request_id(...)`
    """Adds this request's id to log lines inside. A class, because every request enters it: it is cheaper."""

    __slots__ = ("_request_id", "_token")

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def __enter__(self) -> None:
        self._token = _request_id.set(self._request_id)

    def __exit__(self, *raised: object) -> None:
        _request_id.reset(self._token)


def configure(*, level: str) -> None:
    """Send every logger of this process, ours and the libraries', through one JSON formatter."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=SHARED_PROCESSORS,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED_PROCESSORS,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
