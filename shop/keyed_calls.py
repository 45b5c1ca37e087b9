"""Keyed calls at the edge: the `Idempotency-Key` header, calls in flight, and replays.

A call in flight is claimed in this process and in Redis, under a lease: a twin that arrives meanwhile
waits up to a second for the first's answer. Without Redis the claim knows this process only, and the
database's locks and unique constraint do the rest.
"""

import hashlib
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
from shop.reading import without_nulls

LONGEST_KEY = 255
PATIENCE_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 0.02
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

_mutex = threading.Lock()
_claimed: set[tuple[int, str]] = set()


def keyed(request: Request, answer: Callable[[Any], Answer | None]) -> Keyed:
    """The call's key and fingerprint. Raises `Invalid` when the header is missing or not valid."""
    key = _key(request.headers.get("Idempotency-Key"))
    meaning = orjson.dumps(without_nulls(request.data), option=orjson.OPT_SORT_KEYS)
    fingerprint = hashlib.sha256(b"%s %s\n%s" % (_text(request.method), _text(request.path), meaning))
    return Keyed(
        account_id=request.user.id,
        key_hash=idempotency.key_hash(key),
        fingerprint=fingerprint.hexdigest(),
        answer=answer,
    )


def perform(call: Keyed, work: Callable[[], Any]) -> Any:
    """The outcome of `work`, or the `Replay` of a twin that was first.

    Raises what `work` raises, `KeyReused`, and 409 `idempotency_key_in_flight` when the twin takes
    longer than a second.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with _claim(call) as is_claimed:
            if is_claimed:
                return work()
        known = idempotency.find(call)
        if known:
            return known
        if time.monotonic() > deadline:
            raise Rejected(
                "The first call with this key is still running; ask again.",
                code="idempotency_key_in_flight",
                retry_after=1,
            )
        time.sleep(LOOK_AGAIN_SECONDS)


def respond(answer: Answer, *, is_replay: bool) -> HttpResponse:
    """The answer as a response; a repeated one says so."""
    response = HttpResponse(answer.body, status=answer.status, content_type="application/json; charset=utf-8")
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
    with _mutex:
        is_first_here = call.name not in _claimed
        if is_first_here:
            _claimed.add(call.name)
    if not is_first_here:
        yield False
        return
    token, name = secrets.token_hex(8), f"firstcome:in-flight:{call.account_id}:{call.key_hash}"
    try:
        yield _claim_in_redis(name, token)
    finally:
        with _mutex:
            _claimed.discard(call.name)
        redis.attempt(lambda client: client.eval(RELEASE, 1, name, token), otherwise=None)


def _claim_in_redis(name: str, token: str) -> bool:
    lease = settings.IDEMPOTENCY_LEASE_SECONDS * 1000

    def claim(client: "Redis") -> bool:
        return bool(client.set(name, token, nx=True, px=lease))

    return redis.attempt(claim, otherwise=True)


def _key(header: str | None) -> str:
    if header is None:
        raise Invalid("This call needs the header Idempotency-Key.", code="idempotency_key_missing")
    key = header[1:-1] if len(header) >= 2 and header[0] == header[-1] == '"' else header
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise Invalid(
            "The Idempotency-Key must be 1 to 255 printable ASCII characters.", code="idempotency_key_invalid"
        )
    return key


def _text(value: str | None) -> bytes:
    return (value or "").encode()
