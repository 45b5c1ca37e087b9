"""Webhooks of the simulator: signatures, their age, and the events in the bodies."""

import hashlib
import hmac
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from foundation.errors import SignatureInvalid
from payments import gateways
from payments.gateways.contract import GatewayEvent

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECRET = "a secret that both know"
EVENT = {
    "id": "evt_1",
    "type": "charge.succeeded",
    "created_at": "2026-11-20T11:59:58Z",
    "data": {"key": "one", "charge": "ch_1", "order": "order 1", "amount": 700, "currency": "KRW"},
}
BODY = orjson.dumps(EVENT)


@pytest.fixture(autouse=True)
def _secret(settings):
    settings.WEBHOOK_SECRET_SIMULATOR = SECRET


def sign(body: bytes, *, secret: str = SECRET, at: datetime = NOW) -> str:
    seconds = int(at.timestamp())
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def read(body: bytes, header: str, *, name="Firstcome-Signature") -> GatewayEvent:
    event = read_or_none(body, header, name=name)
    assert event
    return event


def read_or_none(body: bytes, header: str, *, name="Firstcome-Signature") -> GatewayEvent | None:
    return gateways.read_event("simulator", headers={"Host": "shop", name: header}, body=body, now=NOW)


def read_signed(event) -> GatewayEvent:
    body = orjson.dumps(event)
    return read(body, sign(body))


def accepted(headers: Iterable[str]) -> list[str]:
    """Those of the headers with which the event is believed."""
    found = []
    for header in headers:
        with suppress(SignatureInvalid):
            read_or_none(BODY, header)
            found.append(header)
    return found


def test_a_signed_event_is_read_whatever_the_case_of_its_header():
    for name in ("Firstcome-Signature", "firstcome-signature", "FIRSTCOME-SIGNATURE"):
        event = read(BODY, sign(BODY), name=name)
        assert event == GatewayEvent(id="evt_1", type="charge.succeeded", key="one"), name


def test_five_minutes_are_accepted_in_both_directions_and_no_more():
    for seconds in (-300, -299, 0, 299, 300):
        assert read(BODY, sign(BODY, at=NOW + timedelta(seconds=seconds))).id == "evt_1", seconds
    instants = [NOW + timedelta(seconds=seconds) for seconds in (-301, 301, -86_400, 10**8)]
    assert accepted(sign(BODY, at=at) for at in instants) == []


def test_one_of_several_signatures_is_enough_while_a_secret_is_changed():
    time, _, fitting = sign(BODY).partition(",")
    _, _, of_another = sign(BODY, secret="the next one").partition(",")

    assert read(BODY, f"{time},{of_another},{fitting},v0=ignored").id == "evt_1"
    assert accepted([f"{time},{of_another}"]) == []


def test_not_a_byte_may_be_changed_nor_the_time():
    for changed in (BODY + b" ", BODY.replace(b"one", b"two"), BODY[:-1], b""):
        with pytest.raises(SignatureInvalid):
            read(changed, sign(BODY))
    old = sign(BODY, at=NOW - timedelta(hours=1))
    assert accepted([f"t={int(NOW.timestamp())},{old.partition(',')[2]}"]) == []


def test_a_malformed_header_is_refused():
    headers = [
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
        # Too long, and not shortened.
        sign(BODY) + ",v0=" + "0" * 4_096,
    ]
    assert accepted(headers) == []


def test_an_event_without_a_key_of_ours_has_no_key():
    changes = [
        {"type": "dispute.opened", "data": {"dispute": "dp_1"}},
        {"data": {}},
        {"data": {"key": None}},
        {"data": {"key": 7}},
        {"data": {"key": "k" * 97}},
        {"data": {"key": "ключ"}},
        {"data": {"key": "one\n"}},
        {"data": "key"},
        {"data": ["key"]},
        {"data": None},
    ]
    events = [read_signed(EVENT | change) for change in changes]

    assert [(event.id, event.key) for event in events] == [("evt_1", "")] * len(changes)


def test_fields_of_an_event_that_are_not_used_may_have_any_value():
    for created_at in ("yesterday", 7, "2999-01-01T00:00:00Z"):
        assert read_signed(EVENT | {"created_at": created_at}).id == "evt_1", created_at


def test_an_id_that_does_not_fit_becomes_a_hash_that_still_differs_from_others():
    strange = ["e" * 256, "e" * 257, "two\nlines", "evt_1 ", "évt_1", "😀", "\0"]
    ids = [read_signed(EVENT | {"id": one}).id for one in strange]

    assert len(set(ids)) == len(strange)
    assert all(len(id) == 71 and id.isascii() and id.startswith("sha256:") for id in ids)
    assert read_signed(EVENT | {"id": "e" * 256}).id == ids[0]
    assert read_signed(EVENT | {"id": "e" * 255}).id == "e" * 255


def test_a_type_that_does_not_fit_is_shortened_and_matches_no_known_type():
    shown = {
        "t" * 65: "t" * 64,
        "schön.😀": "sch?n.?",
        "a\0b": "a?b",
        "charge.succeeded ": "charge.succeeded?",
    }
    assert {type: read_signed(EVENT | {"type": type}).type for type in shown} == shown


def test_a_signed_body_that_is_no_event_or_no_json_is_none():
    wrong = [{"id": ""}, {"id": 1}, {"type": None}]
    events = [None, [], "evt_1", {}, {"id": "evt_1"}, *(EVENT | change for change in wrong)]
    no_number = b'{"id": "a", "type": "b", "data": {"amount": NaN}}'
    bodies = [*map(orjson.dumps, events), b"", b"{", b"\xff\xfe", b"[" * 60_000, no_number]

    assert [body for body in bodies if read_or_none(body, sign(body)) is not None] == []


def test_without_a_secret_or_with_one_of_blanks_nothing_is_valid(settings):
    for secret in ("", " ", "\t\n"):
        settings.WEBHOOK_SECRET_SIMULATOR = secret
        assert accepted([sign(BODY, secret=secret)]) == []


def test_a_former_secret_is_taken_until_it_is_removed(settings):
    settings.WEBHOOK_SECRET_SIMULATOR, settings.WEBHOOK_SECRET_FALLBACKS = "new", [SECRET, ""]
    assert read(BODY, sign(BODY)) == read(BODY, sign(BODY, secret="new"))

    assert accepted(sign(BODY, secret=unknown) for unknown in ("other", "")) == []
    # Without it, and by former secrets alone.
    for secret, former in (("new", []), ("", [SECRET])):
        settings.WEBHOOK_SECRET_SIMULATOR, settings.WEBHOOK_SECRET_FALLBACKS = secret, former
        assert accepted([sign(BODY)]) == []
