"""Keyed calls at the edge: the `Idempotency-Key` header, calls in flight, and replays.

A call in flight is claimed in this process and in Redis, under a lease. A duplicate, of the same account and
key, that arrives meanwhile waits up to a second for the first's answer. Work that is decided in batches takes
its claims by the batch, all other work takes one of its own. Without Redis the claim knows this process only,
and the database's locks and unique constraint do the rest.
"""

import hashlib
import re
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import orjson

from shop.concurrency import event_loop
from shop.concurrency.event_loop import Signal, decided, in_thread
from shop.concurrency.group_commit import Batcher
from shop.db import transactions
from shop.errors import Invalid, Overloaded
from shop.http.permissions import account_id
from shop.http.responses import JSON, PROBLEM
from shop.http.views import Request, Response
from shop.idempotency import claims, recorded_answers
from shop.idempotency.claims import Claim, InFlight
from shop.idempotency.recorded_answers import Answer, Keyed, Replay

LONGEST_KEY = 255
PATIENCE_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 0.2

_mutex = threading.Lock()
# One account may send a crowd of duplicates: a look-up for each would take more threads than it may hold.
_finder: Batcher[Keyed, Replay | None] = Batcher(recorded_answers.find_all, run=transactions.read)
# The calls that run in this process, with the duplicates of each that wait for it here.
_running: dict[tuple[int, str], set[Signal]] = {}


def keyed(request: Request, answer: Callable[[Any], Answer | None]) -> Keyed:
    """The call's key and fingerprint. Raises `Invalid` when the header is missing or not valid."""
    key_hash = recorded_answers.key_hash(_key(request.header("Idempotency-Key")))
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
    """The outcome of `work`, or the `Replay` of a duplicate that was first; it blocks, for plain views.

    Raises what `work` raises, `KeyReused`, and 409 `idempotency_key_in_flight` when the duplicate takes
    longer than a second.
    """
    return event_loop.run(perform_in_thread(call, work))


async def perform_in_thread(call: Keyed, work: Callable[[], Any]) -> Any:
    """The same for views that are coroutines, with the work in a thread of the pool."""
    claim = _claim(call)

    def claimed() -> Any:
        claims.require(claim)
        return work()

    return await _performed(call, claim, lambda: in_thread(claimed, owner=call.account_id))


async def perform_together(call: Keyed, work: Callable[[], Awaitable[Any]]) -> Any:
    """The same for work that is a coroutine and takes the call's claim itself, with those of its batch.

    The work raises `InFlight` where the claim is another's: then it waits here, as duplicates do.
    """
    return await _performed(call, _claim(call), work)


def _claim(call: Keyed) -> Claim:
    return call.claim or claims.of(call.account_id, call.key_hash)


async def _performed(call: Keyed, claim: Claim, work: Callable[[], Awaitable[Any]]) -> Any:
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, SHORTEST_PAUSE_SECONDS
    while True:
        if _begin(call.name):
            with suppress(InFlight):
                return await _first(call.name, claim, work)
        await _wait_for_duplicate(call.name, seconds=pause)
        known = await find(call)
        if known:
            return known
        if time.monotonic() > deadline:
            raise InFlight
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def find(call: Keyed) -> Replay | None:
    """What is recorded for the call; calls that ask together are read together.

    Raises `KeyReused`, and what `Batcher.submit` raises.
    """
    return await decided(_finder, call)


def respond(answer: Answer, *, is_replay: bool) -> Response:
    """The answer as a response; a repeated one says so."""
    headers = {}
    if answer.location:
        headers["Location"] = answer.location
    if is_replay:
        headers["Idempotency-Replayed"] = "true"
    content_type = PROBLEM if answer.status >= 400 else JSON
    return Response.of_bytes(answer.body, answer.status, content_type, headers)


def respond_recorded(call: Keyed, outcome: Any) -> Response:
    """The response of a call that is recorded at once: its own answer, or the replayed one."""
    if isinstance(outcome, Replay):
        assert outcome.answer is not None
        return respond(outcome.answer, is_replay=True)
    answer = call.answer(outcome)
    assert answer is not None
    return respond(answer, is_replay=False)


def _begin(name: tuple[int, str]) -> bool:
    """Whether this call is the one with the key that runs in this process; False while a duplicate does."""
    with _mutex:
        if name in _running:
            return False
        _running[name] = set()
        return True


async def _first(name: tuple[int, str], claim: Claim, work: Callable[[], Awaitable[Any]]) -> Any:
    """Do the work, and let its claim go.

    What was done is recorded, and duplicates find it: so its claim goes with the next call of Redis, and in a
    call of its own only when no other keyed call runs here. What failed may be tried again at once, anywhere:
    its claim goes before the answer.
    """
    is_done, is_had = False, True
    try:
        outcome = await work()
        is_done = True
        return outcome
    except InFlight:
        # The claim is another call's. To let go of it late could end our own, which we may have by then.
        is_had = False
        raise
    finally:
        if is_had:
            claims.let_go_later(claim)
        is_last = _end(name)
        if not is_done:
            with suppress(Overloaded):
                await in_thread(claims.let_go)
        elif is_last:
            event_loop.soon(claims.let_go)


def _end(name: tuple[int, str]) -> bool:
    """Wake the duplicates that wait here. Whether no keyed call runs here any more."""
    with _mutex:
        duplicates = _running.pop(name)
        is_last = not _running
    for signal in duplicates:
        signal.set()
    return is_last


async def _wait_for_duplicate(name: tuple[int, str], *, seconds: float) -> None:
    """Wait until the duplicate that runs here is done, at most `seconds`: it may run in another process."""
    signal = Signal()
    with _mutex:
        waiting = _running.get(name)
        if waiting is not None:
            waiting.add(signal)
    await signal.wait(seconds)
    if waiting is not None:
        with _mutex:
            waiting.discard(signal)


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
