"""The data platform simulator: each event is stored once, and it fails as often as its options say."""

import hmac
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest

from scripts.tests.simulator import Simulator, serving

CONFIGURED_BY = ("EVENT_SECRET", "DATA_PLATFORM_FAILURE_RATE")


@pytest.fixture(scope="module", autouse=True)
def nothing_inherited() -> Iterator[None]:
    """The simulators here are configured by their tests alone, not by what the suite runs in."""
    with patch.dict(os.environ):
        for name in CONFIGURED_BY:
            os.environ.pop(name, None)
        yield


def event(event_id: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": event_id or str(uuid.uuid4()),
        "type": "order.paid",
        "occurred_at": "2026-01-02T03:04:05.678901Z",
        "data": {"order": "order-1", "card_amount": 1000, "items": [{"sku": "A", "quantity": 2}]},
        **more,
    }


def test_one_event_sent_50_times_at_once_is_stored_once(tmp_path):
    sent = event(data={"order": "at-once"})
    with serving("data_platform", tmp_path) as platform, ThreadPoolExecutor(50) as pool:
        answers = Counter(
            pool.map(lambda _: platform.post("/events", {"events": [sent]})[1]["repeated"], range(50))
        )
        assert answers == {0: 1, 1: 49}
        assert len(platform.get("/events", order="at-once")[1]["results"]) == 1


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    monkeypatch.setenv("EVENT_SECRET", "event secret")
    with serving("data_platform", tmp_path) as started:
        yield started


def signed(secret: str, body: bytes, *, seconds: float = 0) -> dict[str, str]:
    """The header as the contract words it, made without the simulator's own code."""
    moment = str(int(time.time() + seconds))
    digest = hmac.new(secret.encode(), moment.encode() + b"." + body, "sha256").hexdigest()
    return {"Firstcome-Signature": f"t={moment},v1={digest}"}


def test_with_a_secret_only_what_is_signed_with_it_is_taken(guarded):
    body = orjson.dumps({"events": [event("a")]})

    def status(headers: dict[str, str], sent: bytes = body) -> int:
        return guarded.call("POST", "/events", body=sent, headers=headers)[0]

    right = signed("event secret", body)["Firstcome-Signature"]
    assert status({}) == 401
    assert status(signed("another secret", body)) == 401
    assert status(signed("event secret", body, seconds=-301)) == 401
    assert status(signed("event secret", body, seconds=330)) == 401
    assert status({"Firstcome-Signature": right}, body.replace(b'"a"', b'"b"')) == 401
    for broken in ("", "v1=", right[:-1], f"{right},v1=0", right.replace("t=", "t=1")):
        assert status({"Firstcome-Signature": broken}) == 401
    assert guarded.get("/summary")[1] == {"events": 0, "repeated": 0}
    assert status({"Firstcome-Signature": right}) == 202
    assert status(signed("event secret", body, seconds=-290)) == 202
