"""Calls with an idempotency key: the `Idempotency-Key` header, calls in flight, and replays.

A call in flight is claimed in this process and in Redis, under a lease. A duplicate waits up to a second for
the response of the first. Without Redis only this process knows the claim, and the database's locks and
unique constraint do the rest.
"""

import hashlib
import re
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial, wraps
from typing import Any

import orjson
from django.db import Error as DatabaseFailure
from structlog import get_logger

from foundation import journal
from foundation.concurrency import event_loop
from foundation.concurrency.batching import Batcher
from foundation.concurrency.event_loop import Signal, run_in_thread, submit_to_batcher
from foundation.db import transactions
from foundation.errors import Invalid, Overloaded, Throttled, Unavailable
from foundation.http import json_format
from foundation.http.messages import JSON, PROBLEM, JSONResponse, Request, account_id, caller_id
from foundation.idempotency import claims, recorded_answers
from foundation.idempotency.claims import Claim, InFlight
from foundation.idempotency.recorded_answers import Answer, Effect, KeyedCall, Replay
from foundation.lazy_texts import mark

log = get_logger(__name__)
MAX_KEY_LENGTH = 255
DUPLICATE_WAIT_SECONDS = 1.0
CHANGED = (dict, list, float)
"""The types of JSON values that may have another form."""
SHORTEST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.2

Handler = Callable[..., Coroutine[Any, Any, JSONResponse]]
RespondWaiting = Callable[[Request, Replay], Awaitable[JSONResponse]]

_mutex = threading.Lock()
# One account may send many duplicates: a look-up for each would need more threads than an account may hold.
_replay_lookups: Batcher[KeyedCall, Replay | None] = Batcher(
    recorded_answers.find_all, name="replays", run=transactions.read
)


def _claim_and_find(calls: Sequence[KeyedCall]) -> list[Replay | Exception | None]:
    """What is recorded for each call; else None, and then its claim is acquired, or the refusal."""
    refusals = claims.acquire_or_refuse([call.claim for call in calls])
    known = recorded_answers.find_all(calls)
    return [found or refusal for found, refusal in zip(known, refusals, strict=True)]


_first_lookups: Batcher[KeyedCall, Replay | None] = Batcher(
    _claim_and_find, name="first_lookups", run=transactions.read
)
_late_records: Batcher[Effect, Replay | None] = Batcher(recorded_answers.record_late, name="late_records")
# The calls that run in this process, each with the duplicates that wait for it here.
_running: dict[tuple[int, str], set[Signal]] = {}


def read_keyed_call(
    request: Request, answer: Callable[[Any], Answer | None], *, owner_id: int | None = None
) -> KeyedCall:
    """Return the call's key and fingerprint. Raises `Invalid` if the header is missing or not valid.

    The key belongs to `owner_id`, which a call of staff gives, or else to the account that the call is about.
    """
    key_hash = recorded_answers.key_hash(_parse_key(request.header("Idempotency-Key")))
    meaning = orjson.dumps(_normalize_json(request.data), option=orjson.OPT_SORT_KEYS)
    fingerprint = hashlib.sha256(f"{request.method} {request.path}\n".encode() + meaning)
    account = account_id(request) if owner_id is None else owner_id
    return KeyedCall(
        account_id=account,
        key_hash=key_hash,
        fingerprint=fingerprint.hexdigest(),
        answer=answer,
        claim=claims.new_claim(account, key_hash),
        language=request.language,
        request_id=journal.current_actor().request_id,
    )


def perform_blocking(call: KeyedCall, work: Callable[[], Any]) -> Any:
    """Return the result of `work`, or the `Replay` of an earlier duplicate; blocks its thread.

    Raises what `work` raises, `KeyReused`, and `InFlight` if the duplicate takes longer than a second.
    """
    claimed = call if call.claim else call._replace(claim=claims.new_claim(call.account_id, call.key_hash))
    return event_loop.run_blocking(perform(claimed, lambda: run_claimed_in_thread(claimed, work)))


async def run_claimed_in_thread(call: KeyedCall, work: Callable[[], Any]) -> Any:
    """Acquire the call's claim, then do the work in a thread of the pool. Raises `InFlight`."""

    def claimed() -> Any:
        assert call.claim
        claims.acquire_or_raise(call.claim)
        return work()

    return await run_in_thread(claimed, owner=call.account_id)


async def perform(call: KeyedCall, work: Callable[[], Awaitable[Any]]) -> Any:
    """The same for work that is a coroutine and acquires the call's claim itself, or with those of a batch.

    If the work raises `InFlight`, this call waits here, as duplicates do.
    """
    assert call.claim
    deadline = time.monotonic() + DUPLICATE_WAIT_SECONDS
    pause = SHORTEST_PAUSE_SECONDS
    while True:
        with _mutex:
            is_first = call.name not in _running
            if is_first:
                _running[call.name] = set()
        if is_first:
            with suppress(InFlight):
                return await _run_first_call(call.name, call.claim, work)
        # Until the duplicate that runs here is done; it may run in another process.
        signal = Signal()
        with _mutex:
            if call.name in _running:
                _running[call.name].add(signal)
        await signal.wait(pause)
        with _mutex:
            _running.get(call.name, set()).discard(signal)
        known = await find_replay(call)
        if known:
            return known
        if time.monotonic() > deadline:
            raise InFlight
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def answer_once(
    request: Request, handler: Callable[..., Any], *, is_one_transaction: bool, **arguments: Any
) -> Any:
    """The response of a handler to a call with a key: its own, or the recorded one of an earlier call.

    What a handler that `is_one_transaction` does commits with its recorded answer. The answer of any other is
    recorded after it, and a repeat of one that died before that does the work again.
    """
    call = read_keyed_call(request, _answer_to_record, owner_id=caller_id(request))
    run = recorded_answers.run_once if is_one_transaction else recorded_answers.run_repeatable
    outcome = perform_blocking(call, lambda: run(call, partial(handler, request, **arguments)))
    return _respond_again(outcome) if isinstance(outcome, Replay) else outcome


def repeatable(respond_waiting: RespondWaiting | None = None) -> Callable[[Handler], Handler]:
    """Decorates the coroutine of a call that an account may repeat, since the database keeps it from a second
    effect; a repeat of its key, if it has one, gets the recorded response, or if that was 202 the one of
    `respond_waiting`.

    The response is recorded after the effect: of a call that died before that, a repeat finds the effect.
    """

    def decorated(handler: Handler) -> Handler:
        @wraps(handler)
        async def answer(view: Any, request: Request, **arguments: Any) -> JSONResponse:
            if request.header("Idempotency-Key") is None:
                return await handler(view, request, **arguments)
            outcome = await _find_or_record(request, partial(handler, view, request, **arguments))
            if not isinstance(outcome, Replay):
                return outcome
            response = _respond_again(outcome)
            if respond_waiting and response.status_code == 202:
                response = await respond_waiting(request, outcome)
                response.headers["Idempotency-Replayed"] = "true"
            return response

        return answer

    return decorated


async def _find_or_record(request: Request, work: Callable[[], Awaitable[JSONResponse]]) -> Any:
    call = read_keyed_call(request, _answer_to_record, owner_id=caller_id(request))

    async def work_once() -> JSONResponse | Replay:
        if known := await submit_to_batcher(_first_lookups, call):
            return known
        response = await work()
        try:
            return await submit_to_batcher(_late_records, Effect(call, response)) or response
        except (DatabaseFailure, Unavailable) as error:
            # 503 would say that nothing was done.
            log.warning("the answer of a keyed call was not recorded", error=error)
            return response

    return await perform(call, work_once)


def parts_of(request: Request) -> Callable[[int], KeyedCall] | None:
    """The keyed calls of the transactions of a call that has several, by number; None without a key."""
    if request.header("Idempotency-Key") is None:
        return None
    call = read_keyed_call(request, lambda _outcome: Answer(200, b""), owner_id=caller_id(request))
    return lambda number: call._replace(key_hash=recorded_answers.key_hash(f"{number} {call.key_hash}"))


async def find_replay(call: KeyedCall) -> Replay | None:
    """Return what is recorded for the call. Raises `KeyReused`, and what `Batcher.submit` raises."""
    return await submit_to_batcher(_replay_lookups, call)


def respond(answer: Answer, *, is_replay: bool) -> JSONResponse:
    """The answer as a response; a replay has the header `Idempotency-Replayed`, and a problem its code."""
    headers = {}
    if answer.location:
        headers["Location"] = answer.location
    if is_replay:
        headers["Idempotency-Replayed"] = "true"
    if answer.status < 400:
        return JSONResponse.from_json(answer.body, answer.status, JSON, headers)
    response = JSONResponse.from_json(answer.body, answer.status, PROBLEM, headers)
    response.code = orjson.loads(answer.body)["code"]
    return response


def respond_recorded(call: KeyedCall, outcome: Any) -> JSONResponse:
    """The response of a call that is recorded at once: its own answer, or the replayed one."""
    if isinstance(outcome, Replay):
        return _respond_again(outcome)
    answer = call.answer(outcome)
    assert answer is not None
    return respond(answer, is_replay=False)


async def _run_first_call(name: tuple[int, str], claim: Claim, work: Callable[[], Awaitable[Any]]) -> Any:
    """Do the work, and release its claim.

    After a success duplicates find the answer, so the claim is released with the next call to Redis, and by a
    call of its own only if no other keyed call runs here. After a failure the client may retry at once, on
    any process, so the claim is released before the response.
    """
    is_done = False
    is_ours = True
    try:
        outcome = await work()
        is_done = True
        return outcome
    except InFlight:
        # The claim is another call's. Releasing it later could release our own, which we may have by then.
        is_ours = False
        raise
    except Throttled:
        # Mostly before the work began. Many of these must not cost a round trip each.
        is_done = True
        raise
    finally:
        if is_ours:
            claims.release_later(claim)
        with _mutex:
            duplicates = _running.pop(name)
            is_last = not _running
        for signal in duplicates:
            signal.set()
        if is_ours and not is_done:
            with suppress(Overloaded):
                await run_in_thread(claims.release_ended)
        elif is_last:
            event_loop.run_in_background(claims.release_ended)


def _answer_to_record(response: Any) -> Answer:
    """The answer that a repeat gets: without a secret, which is shown once and kept nowhere."""
    location = response.headers.get("Location", "")
    if isinstance(response, JSONResponse):
        return Answer(response.status_code, response.body, location)
    data = response.data
    if "secret" in data:
        data = {**data, "secret": None}
    return Answer(response.status_code, json_format.dump(data), location)


def _respond_again(replay: Replay) -> JSONResponse:
    assert replay.answer is not None
    return respond(replay.answer, is_replay=True)


def _parse_key(header: str | None) -> str:
    if header is None:
        raise Invalid(mark("This call needs the header Idempotency-Key."), code="idempotency_key_missing")
    key = header
    if 2 <= len(header) <= 2 * MAX_KEY_LENGTH + 2 and header[0] == header[-1] == '"':
        # As in the IETF draft, with a backslash before quotes and backslashes.
        key = re.sub(r'\\(["\\])', r"\1", header[1:-1])
    if not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise Invalid(
            mark("There must be one Idempotency-Key, of 1 to 255 printable ASCII characters."),
            code="idempotency_key_invalid",
        )
    return key


def _normalize_json(body: Any) -> Any:
    """The same JSON value in one canonical form: 1.0 as 1, without members that are null."""
    kind = type(body)
    if kind is dict:
        return {
            name: _normalize_json(value) if type(value) in CHANGED else value
            for name, value in body.items()
            if value is not None
        }
    if kind is list:
        return [_normalize_json(value) if type(value) in CHANGED else value for value in body]
    if kind is float and body.is_integer() and -(2**63) <= body < 2**64:
        return int(body)
    return body
