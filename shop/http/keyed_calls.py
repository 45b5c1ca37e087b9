"""Keyed calls at the edge: the `Idempotency-Key` header, calls in flight, and replays.

A call in flight is claimed in this process and in Redis, under a lease. A duplicate request, of the same
account and key, that arrives meanwhile waits up to a second for the answer of the first. Work that is decided
in batches takes its claims by the batch, all other work takes one of its own. Without Redis the claim is
known to this process only, and the database's locks and unique constraint do the rest.
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
from shop.concurrency.event_loop import Signal, run_in_thread, submit_to_batcher
from shop.concurrency.group_commit import Batcher
from shop.db import transactions
from shop.errors import Invalid, Overloaded
from shop.http.permissions import account_id
from shop.http.responses import JSON, PROBLEM
from shop.http.views import Request, Response
from shop.idempotency import claims, recorded_answers
from shop.idempotency.claims import Claim, InFlight
from shop.idempotency.recorded_answers import Answer, KeyedCall, Replay

MAX_KEY_LENGTH = 255
DUPLICATE_WAIT_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 0.2

_mutex = threading.Lock()
# One account may send a crowd of duplicates: a look-up for each would take more threads than it may hold.
_replay_lookups: Batcher[KeyedCall, Replay | None] = Batcher(recorded_answers.find_all, run=transactions.read)
# The calls that run in this process, with the duplicates of each that wait for it here.
_running: dict[tuple[int, str], set[Signal]] = {}


def read_keyed_call(request: Request, answer: Callable[[Any], Answer | None]) -> KeyedCall:
    """The call's key and fingerprint. Raises `Invalid` when the header is missing or not valid."""
    key_hash = recorded_answers.key_hash(_parse_key(request.header("Idempotency-Key")))
    meaning = orjson.dumps(_normalize_json(request.data), option=orjson.OPT_SORT_KEYS)
    fingerprint = hashlib.sha256(
        b"%s %s\n%s" % (_encode_text(request.method), _encode_text(request.path), meaning)
    )
    account = account_id(request)
    return KeyedCall(
        account_id=account,
        key_hash=key_hash,
        fingerprint=fingerprint.hexdigest(),
        answer=answer,
        claim=claims.new_claim(account, key_hash),
    )


def perform_blocking(call: KeyedCall, work: Callable[[], Any]) -> Any:
    """The outcome of `work`, or the `Replay` of a duplicate that was first; it blocks, for plain views.

    Raises what `work` raises, `KeyReused`, and 409 `idempotency_key_in_flight` when the duplicate takes
    longer than a second.
    """
    return event_loop.run(perform_in_thread(call, work))


async def perform_in_thread(call: KeyedCall, work: Callable[[], Any]) -> Any:
    """The same for views that are coroutines, with the work in a thread of the pool."""
    claim = _claim_for(call)

    def claimed() -> Any:
        claims.acquire_or_raise(claim)
        return work()

    return await _perform_or_replay(call, claim, lambda: run_in_thread(claimed, owner=call.account_id))


async def perform_in_batch(call: KeyedCall, work: Callable[[], Awaitable[Any]]) -> Any:
    """The same for work that is a coroutine and takes the call's claim itself, with those of its batch.

    The work raises `InFlight` where the claim is another's: then it waits here, as duplicates do.
    """
    return await _perform_or_replay(call, _claim_for(call), work)


def _claim_for(call: KeyedCall) -> Claim:
    return call.claim or claims.new_claim(call.account_id, call.key_hash)


async def _perform_or_replay(call: KeyedCall, claim: Claim, work: Callable[[], Awaitable[Any]]) -> Any:
    deadline, pause = time.monotonic() + DUPLICATE_WAIT_SECONDS, SHORTEST_PAUSE_SECONDS
    while True:
        if _register_running(call.name):
            with suppress(InFlight):
                return await _run_first_call(call.name, claim, work)
        await _wait_for_duplicate(call.name, seconds=pause)
        known = await find_replay(call)
        if known:
            return known
        if time.monotonic() > deadline:
            raise InFlight
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def find_replay(call: KeyedCall) -> Replay | None:
    """What is recorded for the call; calls that ask together are read together.

    Raises `KeyReused`, and what `Batcher.submit` raises.
    """
    return await submit_to_batcher(_replay_lookups, call)


def respond(answer: Answer, *, is_replay: bool) -> Response:
    """The answer as a response; a repeated one says so."""
    headers = {}
    if answer.location:
        headers["Location"] = answer.location
    if is_replay:
        headers["Idempotency-Replayed"] = "true"
    content_type = PROBLEM if answer.status >= 400 else JSON
    return Response.from_json(answer.body, answer.status, content_type, headers)


def respond_recorded(call: KeyedCall, outcome: Any) -> Response:
    """The response of a call that is recorded at once: its own answer, or the replayed one."""
    if isinstance(outcome, Replay):
        assert outcome.answer is not None
        return respond(outcome.answer, is_replay=True)
    answer = call.answer(outcome)
    assert answer is not None
    return respond(answer, is_replay=False)


def _register_running(name: tuple[int, str]) -> bool:
    """Whether this call is the one with the key that runs in this process; False while a duplicate does."""
    with _mutex:
        if name in _running:
            return False
        _running[name] = set()
        return True


async def _run_first_call(name: tuple[int, str], claim: Claim, work: Callable[[], Awaitable[Any]]) -> Any:
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
            claims.release_later(claim)
        is_last = _unregister_running(name)
        if not is_done:
            with suppress(Overloaded):
                await run_in_thread(claims.release_ended)
        elif is_last:
            event_loop.run_in_background(claims.release_ended)


def _unregister_running(name: tuple[int, str]) -> bool:
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


def _parse_key(header: str | None) -> str:
    if header is None:
        raise Invalid("This call needs the header Idempotency-Key.", code="idempotency_key_missing")
    key = _unquote(header)
    if not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise Invalid(
            "The Idempotency-Key must be 1 to 255 printable ASCII characters.", code="idempotency_key_invalid"
        )
    return key


def _unquote(header: str) -> str:
    """The key itself: the IETF draft's form is quoted, with a backslash before quotes and backslashes."""
    if len(header) < 2 or not (header[0] == header[-1] == '"'):
        return header
    return re.sub(r'\\(["\\])', r"\1", header[1:-1])


def _normalize_json(body: Any) -> Any:
    """The same JSON value, written the same way: 1.0 as 1, and members that are null left out."""
    if isinstance(body, dict):
        return {name: _normalize_json(value) for name, value in body.items() if value is not None}
    if isinstance(body, list):
        return [_normalize_json(value) for value in body]
    if isinstance(body, float) and body.is_integer() and -(2**63) <= body < 2**64:
        return int(body)
    return body


def _encode_text(value: str | None) -> bytes:
    return (value or "").encode()
