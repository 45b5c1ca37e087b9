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
from collections.abc import Callable
from typing import Any

import orjson
from django.http import HttpResponse

from shop import claims, idempotency
from shop.calls import Request
from shop.claims import Claim
from shop.errors import Invalid, Rejected
from shop.idempotency import Answer, Keyed, Replay
from shop.permissions import account_id

LONGEST_KEY = 255
PATIENCE_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 0.2

_mutex = threading.Lock()
_running: dict[tuple[int, str], threading.Event] = {}


def keyed(request: Request, answer: Callable[[Any], Answer | None]) -> Keyed:
    """The call's key and fingerprint. Raises `Invalid` when the header is missing or not valid."""
    key = _key(request.headers.get("Idempotency-Key"))
    meaning = orjson.dumps(_by_value(request.data), option=orjson.OPT_SORT_KEYS)
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
        claim = _claim(call)
        if claim:
            return _first(call.name, claim, work)
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


def _claim(call: Keyed) -> Claim | None:
    """The claim by which this call is the one in flight, here and in Redis; None while a twin is."""
    with _mutex:
        if call.name in _running:
            return None
        _running[call.name] = threading.Event()
    claim = Claim(f"{claims.NAME}{call.account_id}:{call.key_hash}", secrets.token_hex(8))
    is_first = False
    try:
        is_first = claims.take(claim)
    finally:
        if not is_first:
            _end(call.name)
    return claim if is_first else None


def _first(name: tuple[int, str], claim: Claim, work: Callable[[], Any]) -> Any:
    """Do the work that is claimed, and let the claim go.

    What was done is recorded, so that twins need no hurry to learn that it has ended: others who are on
    their way let go of it. What failed may be tried again at once, anywhere.
    """
    is_done = False
    try:
        outcome = work()
        is_done = True
        return outcome
    finally:
        claims.let_go_later(claim)
        is_last = _end(name)
        if is_last or not is_done:
            claims.let_go()


def _end(name: tuple[int, str]) -> bool:
    """Wake the twins that wait here. Whether no keyed call runs here any more."""
    with _mutex:
        _running.pop(name).set()
        return not _running


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
    """The same JSON value, written the same way: 1.0 as 1, and members that are null left out."""
    if isinstance(body, dict):
        return {name: _by_value(value) for name, value in body.items() if value is not None}
    if isinstance(body, list):
        return [_by_value(value) for value in body]
    if isinstance(body, float) and body.is_integer() and -(2**63) <= body < 2**64:
        return int(body)
    return body


def _text(value: str | None) -> bytes:
    return (value or "").encode()
