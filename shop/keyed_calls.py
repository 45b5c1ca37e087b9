"""Keyed calls at the edge: the `Idempotency-Key` header, calls in flight, and replays.

A call in flight is claimed in this process and in Redis, under a lease: a twin that arrives meanwhile
waits up to a second for the first's answer. Work that is decided in batches takes its claims by the batch,
all others take one of their own. Without Redis the claim knows this process only, and the
database's locks and unique constraint do the rest.
"""

import hashlib
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
from django.http import HttpResponse

from shop import claims, idempotency
from shop.calls import Request
from shop.claims import Claim, InFlight
from shop.errors import Invalid
from shop.idempotency import Answer, Keyed, Replay
from shop.permissions import account_id

LONGEST_KEY = 255
PATIENCE_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 0.2

_mutex = threading.Lock()
_running: dict[tuple[int, str], threading.Event] = {}


def keyed(request: Request, answer: Callable[[Any], Answer | None]) -> Keyed:
    """The call's key and fingerprint. Raises `Invalid` when the header is missing or not valid."""
    key_hash = idempotency.key_hash(_key(request.header("Idempotency-Key")))
    meaning = orjson.dumps(_by_value(request.data), option=orjson.OPT_SORT_KEYS)
    fingerprint = hashlib.sha256(b"%s %s\n%s" % (_text(request.method), _text(request.path), meaning))
    account = account_id(request)
    return Keyed(
        account_id=account,
        key_hash=key_hash,
        fingerprint=fingerprint.hexdigest(),
        answer=answer,
        claim=claims.of(account, key_hash),
    )


def perform(call: Keyed, work: Callable[[], Any]) -> Any:
    """The outcome of `work`, or the `Replay` of a twin that was first.

    Raises what `work` raises, `KeyReused`, and 409 `idempotency_key_in_flight` when the twin takes
    longer than a second.
    """
    claim = _claim(call)

    def claimed() -> Any:
        claims.require(claim)
        return work()

    return _performed(call, claim, claimed)


def perform_together(call: Keyed, work: Callable[[], Any]) -> Any:
    """The same for work that takes the call's claim itself, with those of others; it raises `InFlight`."""
    return _performed(call, _claim(call), work)


def _claim(call: Keyed) -> Claim:
    return call.claim or claims.of(call.account_id, call.key_hash)


def _performed(call: Keyed, claim: Claim, work: Callable[[], Any]) -> Any:
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, SHORTEST_PAUSE_SECONDS
    while True:
        if _begin(call.name):
            with suppress(InFlight):
                return _first(call.name, claim, work)
        _wait_for_twin(call.name, seconds=pause)
        known = idempotency.find(call)
        if known:
            return known
        if time.monotonic() > deadline:
            raise InFlight
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


def _begin(name: tuple[int, str]) -> bool:
    """Whether this call is the one with the key that runs in this process; False while a twin does."""
    with _mutex:
        if name in _running:
            return False
        _running[name] = threading.Event()
        return True


def _first(name: tuple[int, str], claim: Claim, work: Callable[[], Any]) -> Any:
    """Do the work, and let its claim go.

    What was done is recorded, so that twins need no hurry to learn that it has ended: others who are on
    their way let go of it. What failed may be tried again at once, anywhere.
    """
    is_done, is_had = False, True
    try:
        outcome = work()
        is_done = True
        return outcome
    except InFlight:
        # Nothing to let go of: and it may be had the next time, while somebody is on the way to let go of it.
        is_had = False
        raise
    finally:
        if is_had:
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
