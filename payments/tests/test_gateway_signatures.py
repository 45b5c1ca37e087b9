"""Webhooks of the simulator: who signed them, when, and what they say."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from django.conf import LazySettings

from payments.gateways import gateway
from payments.gateways.contract import GatewayEvent
from shop.errors import SignatureInvalid

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECRET = "a secret that both know"
EVENT = {
    "id": "evt_1",
    "type": "charge.succeeded",
    "created_at": "2026-11-20T11:59:58Z",
    "data": {"key": "one", "charge": "ch_1", "order": "order 1", "amount": 700, "currency": "KRW"},
}


@pytest.fixture(autouse=True)
def _secret(settings: LazySettings) -> None:
    settings.WEBHOOK_SECRET_SIMULATOR = SECRET


def sign(body: bytes, *, secret: str = SECRET, at: datetime = NOW) -> str:
    seconds = int(at.timestamp())
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def read(body: bytes, header: str, *, name: str = "Firstcome-Signature") -> GatewayEvent:
    event = heard(body, header, name=name)
    assert event
    return event


def heard(body: bytes, header: str, *, name: str = "Firstcome-Signature") -> GatewayEvent | None:
    return gateway().event(headers={"Host": "shop", name: header}, body=body, now=NOW)


def told(event: Any) -> GatewayEvent:
    body = orjson.dumps(event)
    return read(body, sign(body))


def test_an_event_is_told_as_it_was_signed() -> None:
    assert told(EVENT) == GatewayEvent(id="evt_1", type="charge.succeeded", key="one")


@pytest.mark.parametrize("name", ["firstcome-signature", "FIRSTCOME-SIGNATURE"])
def test_headers_come_in_any_case(name: str) -> None:
    body = orjson.dumps(EVENT)

    assert read(body, sign(body), name=name).id == "evt_1"


@pytest.mark.parametrize("seconds", [-300, -299, 0, 299, 300])
def test_five_minutes_are_borne_both_ways(seconds: int) -> None:
    body = orjson.dumps(EVENT)

    assert read(body, sign(body, at=NOW + timedelta(seconds=seconds))).id == "evt_1"


@pytest.mark.parametrize("seconds", [-301, 301, -86_400, 10**8])
def test_more_than_five_minutes_are_not(seconds: int) -> None:
    body = orjson.dumps(EVENT)

    with pytest.raises(SignatureInvalid):
        read(body, sign(body, at=NOW + timedelta(seconds=seconds)))


def test_one_of_several_signatures_is_enough_while_a_secret_is_changed() -> None:
    body = orjson.dumps(EVENT)
    time, _, fitting = sign(body).partition(",")
    _, _, of_another = sign(body, secret="the next one").partition(",")

    assert read(body, f"{time},{of_another},{fitting},v0=ignored").id == "evt_1"
    with pytest.raises(SignatureInvalid):
        read(body, f"{time},{of_another}")


def test_not_a_byte_may_be_changed() -> None:
    body = orjson.dumps(EVENT)

    for changed in (body + b" ", body.replace(b"one", b"two"), body[:-1], b""):
        with pytest.raises(SignatureInvalid):
            read(changed, sign(body))


def test_the_time_is_signed_too() -> None:
    body = orjson.dumps(EVENT)
    old = sign(body, at=NOW - timedelta(hours=1))

    with pytest.raises(SignatureInvalid):
        read(body, f"t={int(NOW.timestamp())},{old.partition(',')[2]}")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "v1=" + 64 * "0",
        "t=1795176000",
        "t=,v1=",
        "t=soon,v1=" + 64 * "0",
        "t=-1,v1=" + 64 * "0",
        "t=١٧٩٥,v1=" + 64 * "0",
        "t=1795176000,v1=ключ",
        "t=1,t=1795176000,v1=" + 64 * "0",
        "t=" + 5_000 * "9" + ",v1=" + 64 * "0",
        "Bearer token",
    ],
)
def test_a_header_that_can_not_be_read_is_no_signature(header: str) -> None:
    with pytest.raises(SignatureInvalid):
        read(orjson.dumps(EVENT), header)


def test_without_the_header_nothing_is_signed() -> None:
    with pytest.raises(SignatureInvalid) as caught:
        gateway().event(headers={}, body=orjson.dumps(EVENT), now=NOW)

    assert caught.value.code == "signature_invalid"


def test_without_a_secret_nothing_is_valid_not_even_what_is_signed_by_none(settings: LazySettings) -> None:
    settings.WEBHOOK_SECRET_SIMULATOR = ""
    body = orjson.dumps(EVENT)

    with pytest.raises(SignatureInvalid):
        read(body, sign(body, secret=""))


@pytest.mark.parametrize(
    "change",
    [
        {"type": "dispute.opened", "data": {"dispute": "dp_1"}},
        {"data": {}},
        {"data": {"key": None}},
        {"data": {"key": 7}},
        {"data": {"key": "k" * 97}},
        {"data": {"key": "ключ"}},
        {"data": {"key": "one\n"}},
        {"data": "key"},
        {"data": None},
    ],
    ids=str,
)
def test_what_has_no_key_of_ours_is_an_event_of_nobody(change: Mapping[str, Any]) -> None:
    event = told(EVENT | change)

    assert (event.id, event.key) == ("evt_1", "")


@pytest.mark.parametrize(
    "event", [{"created_at": "yesterday"}, {"created_at": 7}, {"data": ["key"]}], ids=str
)
def test_what_nobody_asks_an_event_for_may_be_anything(event: Mapping[str, Any]) -> None:
    assert told(EVENT | event).id == "evt_1"


def test_an_id_that_does_not_fit_is_told_by_its_hash_and_still_apart_from_others() -> None:
    strange = ["e" * 256, "e" * 257, "two\nlines", "evt_1 ", "évt_1", "😀", "\0"]
    ids = [told(EVENT | {"id": one}).id for one in strange]

    assert len(set(ids)) == len(strange)
    assert all(len(id) == 71 and id.isascii() and id.startswith("sha256:") for id in ids)
    assert told(EVENT | {"id": "e" * 256}).id == ids[0]
    assert told(EVENT | {"id": "e" * 255}).id == "e" * 255


@pytest.mark.parametrize(
    ("type", "shown"),
    [
        ("t" * 65, "t" * 64),
        ("schön.😀", "sch?n.?"),
        ("a\0b", "a?b"),
        ("charge.succeeded ", "charge.succeeded?"),
    ],
)
def test_a_type_that_does_not_fit_is_cut_and_is_none_that_is_known(type: str, shown: str) -> None:
    assert told(EVENT | {"type": type}).type == shown


@pytest.mark.parametrize(
    "event",
    [None, [], "evt_1", {}, EVENT | {"id": ""}, EVENT | {"id": 1}, EVENT | {"type": None}, {"id": "evt_1"}],
    ids=str,
)
def test_a_body_that_is_signed_and_no_event_says_nothing(event: Any) -> None:
    body = orjson.dumps(event)

    assert heard(body, sign(body)) is None


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 60_000, b'{"id": "a", "type": "b", "data": {"amount": NaN}}']
)
def test_a_body_that_is_signed_and_no_json_says_nothing(body: bytes) -> None:
    assert heard(body, sign(body)) is None


def test_a_header_longer_than_a_signature_needs_is_refused_and_not_cut() -> None:
    body = orjson.dumps(EVENT)

    with pytest.raises(SignatureInvalid):
        read(body, sign(body) + ",v0=" + "0" * 4_096)


@pytest.mark.parametrize("secret", [" ", "\t\n"])
def test_a_secret_of_blanks_is_no_secret(secret: str, settings: LazySettings) -> None:
    settings.WEBHOOK_SECRET_SIMULATOR = secret
    body = orjson.dumps(EVENT)

    with pytest.raises(SignatureInvalid):
        read(body, sign(body, secret=secret))
