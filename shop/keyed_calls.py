"""Keyed calls at the edge: the `Idempotency-Key` header, calls in flight, and replays.

A call in flight is claimed in this process and in Redis, under a lease: a twin that arrives meanwhile
waits up to a second for the first's answer. Without Redis the claim knows this process only, and the
database's locks and unique constraint do the rest.
"""

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpResponse
from redis import Redis
from rest_framework.request import Request

from shop import idempotency, redis
from shop.errors import Invalid, Rejected
from shop.idempotency import Answer, Keyed, Replay
from shop.permissions import account_id
from shop.reading import without_nulls

LONGEST_KEY = 255
PATIENCE_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 0.2
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

_mutex = threading.Lock()
_running: dict[tuple[int, str], threading.Event] = {}


def keyed(request: Request, answer: Callable[[Any], Answer | None]) -> Keyed:
    """The call's key and fingerprint. Raises `Invalid` when the header is missing or not valid."""
    key = _key(request.headers.get("Idempotency-Key"))
    meaning = orjson.dumps(_by_value(without_nulls(request.data)), option=orjson.OPT_SORT_KEYS)
    fingerprint = hashlib.sha256(b"%s %s\n%s" % (_text(request.method), _text(request.path), meaning))
    return Keyed(
        account_id=account_id(request),
        key_hash=idempotency.key_hash(key),
        fingerprint=fingerprint.hexdigest(),
        answer=answer,
    )


def perform(call: Keyed, work: Callable[[], Any]) -> Any:
    """The outcome of `work`, or the `Replay` of a twin that was first.

    Raises what `work` raises, `KeyReused`, and 409 `idempotency_key_in_flight` when the twin takes
    longer than a second.
    """
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, SHORTEST_PAUSE_SECONDS
    while True:
        with _claim(call) as is_first:
            if is_first:
                return work()
        _wait_for_twin(call.name, seconds=pause)
        known = idempotency.find(call)
        if known:
            return known
        if time.monotonic() > deadline:
            raise _in_flight()
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def respond(answer: Answer, *, is_replay: bool) -> HttpResponse:
    """The answer as a response; a repeated one says so."""
    content_type = "application/problem+json" if answer.status >= 400 else "application/json; charset=utf-8"
    response = HttpResponse(answer.body, status=answer.status, content_type=content_type)
    if answer.location:
        response["Location"] = answer.location
    if is_replay:
        response["Idempotency-Replayed"] = "true"
    return response


def respond_recorded(call: Keyed, outcome: Any) -> HttpResponse:
    """The response of a call that is recorded at once: its own answer, or the replayed one."""
    if isinstance(outcome, Replay):
        assert outcome.answer is not None
        return respond(outcome.answer, is_replay=True)
    answer = call.answer(outcome)
    assert answer is not None
    return respond(answer, is_replay=False)


@contextmanager
def _claim(call: Keyed) -> Iterator[bool]:
    """Whether this call is now the one in flight, here and in Redis."""
    with _claim_here(call.name) as is_first_here:
        if not is_first_here:
            yield False
            return
        with _claim_in_redis(call) as is_first:
            yield is_first


@contextmanager
def _claim_here(name: tuple[int, str]) -> Iterator[bool]:
    with _mutex:
        is_first = name not in _running
        if is_first:
            _running[name] = threading.Event()
    try:
        yield is_first
    finally:
        if is_first:
            with _mutex:
                _running.pop(name).set()


@contextmanager
def _claim_in_redis(call: Keyed) -> Iterator[bool]:
    """The claim in Redis; without Redis it counts as had, and the database has the last word."""
    token, name = secrets.token_hex(8), f"firstcome:in-flight:{call.account_id}:{call.key_hash}"
    lease = settings.IDEMPOTENCY_LEASE_SECONDS * 1000

    def claim(client: "Redis") -> bool:
        return bool(client.set(name, token, nx=True, px=lease))

    is_first = redis.attempt(claim, otherwise=True)
    try:
        yield is_first
    finally:
        if is_first:
            redis.attempt(lambda client: client.eval(RELEASE, 1, name, token), otherwise=None)


def _wait_for_twin(name: tuple[int, str], *, seconds: float) -> None:
    """Wait until the twin that runs here is done, at most `seconds`: it may run in another process."""
    with _mutex:
        twin = _running.get(name)
    (twin or threading.Event()).wait(seconds)


def _in_flight() -> Rejected:
    return Rejected(
        "The first call with this key is still running; ask again.",
        code="idempotency_key_in_flight",
        retry_after=1,
    )


def _key(header: str | None) -> str:
    if header is None:
        raise Invalid("This call needs the header Idempotency-Key.", code="idempotency_key_missing")
    key = _unquoted(header)
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise Invalid(
            "The Idempotency-Key must be 1 to 255 printable ASCII characters.", code="idempotency_key_invalid"
        )
    return key


def _unquoted(header: str) -> str:
    """The key itself: the IETF draft's form is quoted, with a backslash before quotes and backslashes."""
    if len(header) < 2 or not (header[0] == header[-1] == '"'):
        return header
    return re.sub(r'\\(["\\])', r"\1", header[1:-1])


def _by_value(body: Any) -> Any:
    """The same JSON value, written the same way: 1.0 as 1."""
    match body:
        case dict():
            return {name: _by_value(value) for name, value in body.items()}
        case list():
            return [_by_value(value) for value in body]
        case float() if body.is_integer() and -(2**63) <= body < 2**64:
            return int(body)
    return body


def _text(value: str | None) -> bytes:
    return (value or "").encode()
