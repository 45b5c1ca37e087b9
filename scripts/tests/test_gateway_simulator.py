"""The gateway simulator: what each card token ends in, and a book that no crash and no repeat can bend."""

import asyncio
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any

import orjson
import pytest
import urllib3

from scripts.simulators import process
from scripts.stack import ports
from scripts.tests.simulator import Simulator, everything, launch, running, wait_until

CHARGE_FIELDS = {"id", "key", "order", "status", "amount", "refunded_amount", "currency", "created_at"}
IMPATIENT = urllib3.Timeout(total=0.5)
ENDS_WITHIN = 2


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with running("gateway", tmp_path_factory.mktemp("gateway"), "--latency-ms", "0") as started:
        yield started


@pytest.fixture
def key() -> str:
    return f"key-{uuid.uuid4()}"


def asked(token: str, amount: int = 1000, order: str | None = "order-1") -> dict[str, Any]:
    return {"token": token, "amount": amount, "currency": "KRW", "order": order}


def charge(gateway: Simulator, key: str, token: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return gateway.post("/charges", asked(token, **more), key=key)


def found(gateway: Simulator, key: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = gateway.get("/charges", key=key)[1]["results"]
    return results


def gets_no_answer(gateway: Simulator, key: str, token: str) -> None:
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        gateway.post("/charges", asked(token), key=key, timeout=IMPATIENT)


# What each token ends in


def test_tok_ok_is_charged(gateway: Simulator, key: str) -> None:
    status, made = charge(gateway, key, "tok_ok", amount=700, order="order-of-tok-ok")
    assert status == 201
    assert set(made) == CHARGE_FIELDS
    assert made["id"].startswith("ch_")
    assert made["created_at"].endswith("Z")
    assert datetime.fromisoformat(made["created_at"]) <= datetime.now(UTC)
    wanted = {"key": key, "order": "order-of-tok-ok", "status": "succeeded", "amount": 700, "currency": "KRW"}
    assert {**made, **wanted, "refunded_amount": 0} == made
    assert found(gateway, key) == [made]
    assert gateway.get("/charges", order="order-of-tok-ok")[1]["results"] == [made]


def test_a_charge_without_an_order_is_a_top_up(gateway: Simulator, key: str) -> None:
    without = {name: value for name, value in asked("tok_ok").items() if name != "order"}
    assert gateway.post("/charges", without, key=key)[1]["order"] is None
    assert charge(gateway, key, "tok_ok", order=None)[0] == 201


@pytest.mark.parametrize(
    ("token", "code"), [("tok_declined", "card_declined"), ("tok_insufficient_funds", "insufficient_funds")]
)
def test_a_refused_card_is_refused_finally(gateway: Simulator, key: str, token: str, code: str) -> None:
    status, made = charge(gateway, key, token)
    assert (status, made["status"], made["failure"]["code"]) == (402, "declined", code)
    assert charge(gateway, key, token) == (402, made)
    assert found(gateway, key) == [made]
    assert gateway.post("/charges/cancel", {"key": key}) == (200, made)


def test_tok_error_fails_each_time_and_charges_nothing(gateway: Simulator, key: str) -> None:
    for _ in range(5):
        assert charge(gateway, key, "tok_error")[0] == 500
    assert found(gateway, key) == []


def test_tok_flaky_fails_twice_with_a_key_then_charges(gateway: Simulator, key: str) -> None:
    statuses = [charge(gateway, key, "tok_flaky")[0] for _ in range(4)]
    assert statuses == [500, 500, 201, 201]
    assert [row["status"] for row in found(gateway, key)] == ["succeeded"]


def test_tok_slow_is_pending_for_two_seconds_then_charged(gateway: Simulator, key: str) -> None:
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        first = pool.submit(charge, gateway, key, "tok_slow")
        wait_until(lambda: bool(found(gateway, key)))
        assert found(gateway, key)[0]["status"] == "pending"
        assert charge(gateway, key, "tok_slow") == (202, found(gateway, key)[0])
        status, made = first.result()
    assert time.monotonic() - began >= 2
    assert (status, made["status"]) == (201, "succeeded")
    assert charge(gateway, key, "tok_slow") == (201, made)


def test_tok_slow_is_charged_when_its_client_leaves(gateway: Simulator, key: str) -> None:
    gets_no_answer(gateway, key, "tok_slow")
    assert [row["status"] for row in found(gateway, key)] == ["pending"]
    wait_until(lambda: found(gateway, key)[0]["status"] == "succeeded")


def test_tok_timeout_charged_is_charged_and_never_answers(gateway: Simulator, key: str) -> None:
    gets_no_answer(gateway, key, "tok_timeout_charged")
    wait_until(lambda: bool(found(gateway, key)))
    [made] = found(gateway, key)
    assert made["status"] == "succeeded"
    gets_no_answer(gateway, key, "tok_timeout_charged")
    assert found(gateway, key) == [made]


def test_tok_timeout_lost_is_not_charged_and_never_answers(gateway: Simulator, key: str) -> None:
    gets_no_answer(gateway, key, "tok_timeout_lost")
    gets_no_answer(gateway, key, "tok_timeout_lost")
    assert found(gateway, key) == []


def test_tok_refund_fails_twice_then_is_refunded(gateway: Simulator, key: str) -> None:
    made = charge(gateway, key, "tok_refund_fails", amount=500)[1]
    asked_back = {"charge": made["id"], "amount": 500}
    statuses = [gateway.post("/refunds", asked_back, key=f"refund-{key}")[0] for _ in range(4)]
    assert statuses == [500, 500, 201, 201]
    assert found(gateway, key)[0]["refunded_amount"] == 500


def test_a_reply_that_never_comes_ends_when_the_client_stays_too_long() -> None:
    async def never(request: process.Request) -> process.Answer:
        return process.NoReply(hold_seconds=0.01)

    sent: list[Any] = []
    request = iter([{"type": "http.request", "body": b""}])

    async def receive() -> Any:
        return next(request, None) or await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    application = process.application({"/": {"GET": never}})
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    asyncio.run(application(scope, receive, send))
    assert sent[0]["status"] == 504


def test_many_that_wait_without_an_answer_delay_no_other(gateway: Simulator, key: str) -> None:
    body = orjson.dumps(asked("tok_timeout_charged"))
    with ExitStack() as opened:
        for number in range(300):
            waiting = opened.enter_context(socket.create_connection((ports.HOST, gateway.port)))
            head = f"POST /charges HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(body)}\r\n"
            waiting.sendall(f"{head}Idempotency-Key: {key}-{number}\r\n\r\n".encode() + body)
        wait_until(lambda: bool(found(gateway, f"{key}-299")))
        assert charge(gateway, key, "tok_ok")[0] == 201


# Repeated keys


def test_a_key_with_another_body_is_refused(gateway: Simulator, key: str) -> None:
    made = charge(gateway, key, "tok_ok", amount=100)[1]
    for other in (asked("tok_ok", 101), asked("tok_slow", 100), asked("tok_ok", 100, order=None)):
        status, refusal = gateway.post("/charges", other, key=key)
        assert (status, refusal["code"]) == (422, "key_reused")
    assert found(gateway, key) == [made]


def test_a_key_that_charged_nothing_is_still_bound_to_its_body(gateway: Simulator, key: str) -> None:
    assert charge(gateway, key, "tok_error")[0] == 500
    assert charge(gateway, key, "tok_ok")[0] == 422
    assert found(gateway, key) == []


def test_one_key_sent_50_times_at_once_is_charged_once(gateway: Simulator, key: str) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: charge(gateway, key, "tok_ok"), range(50)))
    assert {status for status, _ in answers} == {201}
    assert len({made["id"] for _, made in answers}) == 1
    assert len(found(gateway, key)) == 1


# Cancelling by key


@pytest.mark.parametrize("token", ["tok_ok", "tok_error", "tok_flaky", "tok_slow", "tok_timeout_lost"])
def test_a_cancelled_key_is_never_charged(gateway: Simulator, key: str, token: str) -> None:
    status, cancelled = gateway.post("/charges/cancel", {"key": key})
    assert (status, cancelled["status"], cancelled["amount"]) == (200, "cancelled", 0)
    assert gateway.post("/charges/cancel", {"key": key}) == (200, cancelled)
    status, refusal = charge(gateway, key, token)
    assert (status, refusal["code"], refusal["charge"]) == (409, "key_cancelled", cancelled)
    assert found(gateway, key) == [cancelled]


def test_a_slow_charge_that_is_cancelled_meanwhile_never_lands(gateway: Simulator, key: str) -> None:
    with ThreadPoolExecutor() as pool:
        first = pool.submit(charge, gateway, key, "tok_slow", amount=300)
        wait_until(lambda: bool(found(gateway, key)))
        status, cancelled = gateway.post("/charges/cancel", {"key": key})
        assert (status, cancelled["status"], cancelled["amount"]) == (200, "cancelled", 300)
        status, refusal = first.result()
    assert (status, refusal["code"], refusal["charge"]) == (409, "key_cancelled", cancelled)
    assert found(gateway, key) == [cancelled]


def test_what_is_charged_can_not_be_cancelled(gateway: Simulator, key: str) -> None:
    made = charge(gateway, key, "tok_ok")[1]
    status, refusal = gateway.post("/charges/cancel", {"key": key})
    assert (status, refusal["code"], refusal["charge"]) == (409, "already_charged", made)


def test_of_a_charge_and_a_cancel_at_once_one_wins(gateway: Simulator, key: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        for number in range(100):
            raced = f"{key}-{number}"
            charging = pool.submit(charge, gateway, raced, "tok_ok")
            cancelling = pool.submit(gateway.post, "/charges/cancel", {"key": raced})
            ending = (charging.result()[0], cancelling.result()[0], found(gateway, raced)[0]["status"])
            assert ending in {(201, 409, "succeeded"), (409, 200, "cancelled")}


# Refunds


def test_refunds_never_exceed_the_charge(gateway: Simulator, key: str) -> None:
    made = charge(gateway, key, "tok_ok", amount=100)[1]

    def refund(number: int) -> int:
        return gateway.post("/refunds", {"charge": made["id"], "amount": 30}, key=f"{key}-{number}")[0]

    with ThreadPoolExecutor(20) as pool:
        assert Counter(pool.map(refund, range(20))) == {201: 3, 409: 17}
    status, refusal = gateway.post("/refunds", {"charge": made["id"], "amount": 11}, key=f"{key}-rest")
    assert (status, refusal["code"]) == (409, "refund_exceeds_charge")
    assert gateway.post("/refunds", {"charge": made["id"], "amount": 10}, key=f"{key}-rest")[0] == 201
    assert found(gateway, key)[0]["refunded_amount"] == 100
    amounts = [row["amount"] for row in gateway.get("/refunds", charge=made["id"])[1]["results"]]
    assert amounts == [30, 30, 30, 10]


def test_a_repeated_refund_is_made_once(gateway: Simulator, key: str) -> None:
    made = charge(gateway, key, "tok_ok", amount=100)[1]
    asked_back = {"charge": made["id"], "amount": 60}
    status, first = gateway.post("/refunds", asked_back, key=key)
    assert status == 201
    assert set(first) == {"id", "key", "charge", "amount", "status", "created_at"}
    assert (first["key"], first["charge"], first["amount"], first["status"]) == (
        key,
        made["id"],
        60,
        "succeeded",
    )
    assert gateway.post("/refunds", asked_back, key=key) == (201, first)
    assert gateway.post("/refunds", {**asked_back, "amount": 1}, key=key)[1]["code"] == "key_reused"
    assert gateway.get("/refunds", key=key)[1]["results"] == [first]


@pytest.mark.parametrize("token", ["tok_declined", "tok_slow"])
def test_only_what_was_charged_is_refunded(gateway: Simulator, key: str, token: str) -> None:
    with ThreadPoolExecutor() as pool:
        pool.submit(charge, gateway, key, token)
        wait_until(lambda: bool(found(gateway, key)))
        status, refusal = gateway.post(
            "/refunds", {"charge": found(gateway, key)[0]["id"], "amount": 1}, key=key
        )
    assert (status, refusal["code"]) == (409, "refund_exceeds_charge")


def test_an_unknown_charge_is_not_refunded(gateway: Simulator, key: str) -> None:
    status, refusal = gateway.post("/refunds", {"charge": "ch_nobody", "amount": 1}, key=key)
    assert (status, refusal["code"]) == (404, "charge_not_found")


# Lists and sums


def test_pages_walk_the_whole_book_oldest_first(tmp_path: Path) -> None:
    with running("gateway", tmp_path, "--latency-ms", "0") as gateway:
        keys = [f"key-{number}" for number in range(25)]
        for one in keys:
            charge(gateway, one, "tok_ok")
        assert [row["key"] for row in everything(gateway, "/charges", limit=10)] == keys
        assert [row["key"] for row in everything(gateway, "/charges", limit=5)] == keys
        assert gateway.get("/charges", limit=25)[1]["next"] is None


def test_pages_of_a_filtered_list_go_on_after_the_id_in_next_and_end_with_what_was_added(
    gateway: Simulator, key: str
) -> None:
    order = str(uuid.uuid4())
    made = [charge(gateway, f"{key}-{number}", "tok_ok", order=order)[1] for number in range(3)]
    charge(gateway, f"{key}-of-another", "tok_ok", order=str(uuid.uuid4()))

    status, first = gateway.get("/charges", order=order, limit=2)
    made.append(charge(gateway, f"{key}-later", "tok_ok", order=order)[1])
    rest = gateway.get("/charges", order=order, limit=2, after=first["next"])[1]

    assert (status, first) == (200, {"results": made[:2], "next": made[1]["id"]})
    assert rest == {"results": made[2:], "next": None}


def test_a_list_without_pages_is_the_whole_book(tmp_path: Path) -> None:
    with running("gateway", tmp_path, "--latency-ms", "0") as gateway:
        with closing(sqlite3.connect(tmp_path / "book.sqlite3")) as book, book:
            book.executemany(
                "INSERT INTO charges (id, key, token, amount, currency, status, created_at)"
                " VALUES (?, ?, 'tok_ok', 1, 'KRW', 'succeeded', '2026-01-01T00:00:00Z')",
                [(f"ch_{number}", f"key-{number}") for number in range(10_500)],
            )
        status, whole = gateway.get("/charges")
        assert (status, list(whole), len(whole["results"])) == (200, ["results"], 10_500)


def test_empty_filters_filter_nothing(gateway: Simulator, key: str) -> None:
    made = charge(gateway, key, "tok_ok")[1]
    assert gateway.call("GET", f"/charges?key={key}&order=")[1]["results"] == [made]


def test_the_charges_of_a_period_are_those_from_its_start_to_before_its_end(gateway: Simulator) -> None:
    keys = [f"period-{uuid.uuid4()}" for _ in range(3)]
    moments = [charge(gateway, key, "tok_ok", order=keys[0])[1]["created_at"] for key in keys]

    def listed(**period: str) -> list[str]:
        rows = gateway.get("/charges", order=keys[0], **period)[1]["results"]
        return [row["key"] for row in rows]

    assert listed(created_from=moments[1]) == keys[1:]
    assert listed(created_to=moments[1]) == keys[:1]
    assert listed(created_from=moments[0], created_to=moments[2]) == keys[:2]
    assert listed(created_from=moments[1], created_to=moments[1]) == []
    in_seoul = datetime.fromisoformat(moments[1]).astimezone(timezone(timedelta(hours=9))).isoformat()
    assert listed(created_from=in_seoul) == keys[1:]


@pytest.mark.parametrize("name", ["created_from", "created_to"])
@pytest.mark.parametrize(
    "moment", ["yesterday", "2026-01-01", "2026-01-01T00:00:00", "0001-01-01T00:00:00+09:00"]
)
def test_a_period_that_can_not_be_read_is_refused(gateway: Simulator, name: str, moment: str) -> None:
    status, refusal = gateway.get("/charges", **{name: moment})
    assert (status, refusal["code"], refusal["field"]) == (400, "invalid", name)


def test_the_summary_counts_what_succeeded_only(tmp_path: Path) -> None:
    with running("gateway", tmp_path, "--latency-ms", "0") as gateway:
        nothing = {"charged_amount": 0, "refunded_amount": 0, "charges": 0, "refunds": 0}
        assert gateway.get("/summary") == (200, nothing)
        first = charge(gateway, "a", "tok_ok", amount=1000)[1]
        charge(gateway, "b", "tok_ok", amount=20)
        charge(gateway, "c", "tok_declined", amount=300)
        charge(gateway, "d", "tok_error", amount=4000)
        gateway.post("/charges/cancel", {"key": "e"})
        gateway.post("/refunds", {"charge": first["id"], "amount": 150}, key="f")
        gateway.post("/refunds", {"charge": first["id"], "amount": 5}, key="g")
        summary = {"charged_amount": 1020, "refunded_amount": 155, "charges": 2, "refunds": 2}
        assert gateway.get("/summary") == (200, summary)


# Bad input

GOOD = asked("tok_ok")
BAD_AMOUNTS: list[Any] = [0, -1, 1.0, 1.5, "1", True, None, [], 2**63, 10**13]
BAD_CHARGES = [
    b"",
    b"{",
    b"[]",
    b'"tok_ok"',
    b"\xff\xfe",
    b"[" * 10_000,
    b'{"a":' * 10_000,
    *(orjson.dumps({**GOOD, "amount": amount}) for amount in BAD_AMOUNTS),
    orjson.dumps(GOOD).replace(b"1000", b"1e400"),
    orjson.dumps(GOOD).replace(b"1000", b"NaN"),
    orjson.dumps(GOOD).replace(b"1000", b"9" * 400),
    *(
        orjson.dumps({name: GOOD[name] for name in GOOD if name != absent})
        for absent in ("token", "amount", "currency")
    ),
    orjson.dumps({**GOOD, "token": "tok_nobody"}),
    orjson.dumps({**GOOD, "token": ["tok_ok"]}),
    orjson.dumps({**GOOD, "currency": "won"}),
    orjson.dumps({**GOOD, "order": 7}),
    orjson.dumps({**GOOD, "order": "x" * 256}),
]


@pytest.mark.parametrize("body", BAD_CHARGES, ids=range(len(BAD_CHARGES)))
def test_a_bad_charge_is_refused_and_leaves_no_trace(gateway: Simulator, key: str, body: bytes) -> None:
    status, refusal = gateway.call("POST", "/charges", body=body, headers={"Idempotency-Key": key})
    assert status == 400
    assert refusal["code"] in {"malformed_json", "invalid", "unknown_token"}
    assert charge(gateway, key, "tok_ok")[0] == 201


def test_an_unknown_token_has_a_code_of_its_own(gateway: Simulator, key: str) -> None:
    for token in ("tok_nobody", "tok_", "TOK_OK"):
        status, refusal = charge(gateway, key, token)
        assert (status, refusal["code"]) == (400, "unknown_token")


@pytest.mark.parametrize("path", ["/charges", "/refunds"])
def test_a_key_is_required_and_printable(gateway: Simulator, path: str) -> None:
    fields = {**GOOD, "charge": "ch_nobody"}
    assert gateway.post(path, fields)[1]["code"] == "idempotency_key_missing"
    assert gateway.post(path, fields, key="k" * 256)[1]["code"] == "idempotency_key_invalid"
    assert gateway.post(path, fields, key="k\xe9y")[1]["code"] == "idempotency_key_invalid"


@pytest.mark.parametrize("fields", [{}, {"charge": "ch_1"}, {"amount": 1}, {"charge": 1, "amount": 1}, [], 7])
def test_a_bad_refund_is_refused(gateway: Simulator, key: str, fields: Any) -> None:
    assert gateway.post("/refunds", fields, key=key)[0] == 400


@pytest.mark.parametrize("fields", [{}, {"key": ""}, {"key": 7}, {"key": None}, []])
def test_a_bad_cancel_is_refused(gateway: Simulator, fields: Any) -> None:
    assert gateway.post("/charges/cancel", fields)[0] == 400


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=10001", "limit=x", "limit=-1", "after=ch_nobody", "kye=a"]
)
@pytest.mark.parametrize("path", ["/charges", "/refunds"])
def test_a_bad_query_is_refused_rather_than_listing_all(gateway: Simulator, path: str, query: str) -> None:
    status, refusal = gateway.call("GET", f"{path}?{query}")
    assert (status, refusal["code"]) == (400, "invalid")


def test_paths_methods_and_sizes_are_kept_to(gateway: Simulator, key: str) -> None:
    assert gateway.get("/nowhere")[0] == 404
    assert gateway.call("DELETE", "/charges")[0] == 405
    assert gateway.get("/charges/cancel")[0] == 405
    large = {**GOOD, "order": "x" * 70_000}
    assert gateway.post("/charges", large, key=key)[0] == 413
    assert gateway.get("/healthz") == (200, {"status": "ok"})


# The process


def test_a_killed_gateway_forgets_nothing(tmp_path: Path) -> None:
    with running("gateway", tmp_path, "--latency-ms", "0") as gateway:
        charged = charge(gateway, "ok", "tok_ok", amount=100)
        declined = charge(gateway, "declined", "tok_declined")
        assert charge(gateway, "flaky", "tok_flaky")[0] == 500
        assert charge(gateway, "error", "tok_error")[0] == 500
        gets_no_answer(gateway, "charged", "tok_timeout_charged")
        cancelled = gateway.post("/charges/cancel", {"key": "cancelled"})
        refunded = gateway.post("/refunds", {"charge": charged[1]["id"], "amount": 40}, key="refund")
        book = everything(gateway, "/charges"), everything(gateway, "/refunds"), gateway.get("/summary")
        gateway.child.kill()
        gateway.child.wait()
    with running("gateway", tmp_path, "--latency-ms", "0", port=gateway.port) as again:
        assert (everything(again, "/charges"), everything(again, "/refunds"), again.get("/summary")) == book
        assert charge(again, "ok", "tok_ok", amount=100)[1] == {**charged[1], "refunded_amount": 40}
        assert charge(again, "declined", "tok_declined") == declined
        assert [charge(again, "flaky", "tok_flaky")[0] for _ in range(2)] == [500, 201]
        assert charge(again, "error", "tok_ok")[0] == 422
        assert again.post("/charges/cancel", {"key": "cancelled"}) == cancelled
        assert again.post("/refunds", {"charge": charged[1]["id"], "amount": 40}, key="refund") == refunded


def test_a_slow_charge_is_settled_by_the_next_process(tmp_path: Path) -> None:
    with running("gateway", tmp_path) as gateway, ThreadPoolExecutor() as pool:
        pool.submit(charge, gateway, "slow", "tok_slow")
        wait_until(lambda: bool(found(gateway, "slow")))
        gateway.child.kill()
        gateway.child.wait()
    with closing(sqlite3.connect(tmp_path / "book.sqlite3")) as book:
        assert book.execute("SELECT key, status FROM charges").fetchall() == [("slow", "pending")]
    with running("gateway", tmp_path) as again:
        wait_until(lambda: found(again, "slow")[0]["status"] == "succeeded")


def test_whatever_was_answered_before_a_kill_is_in_the_book(tmp_path: Path) -> None:
    with running("gateway", tmp_path, "--latency-ms", "2") as gateway, ThreadPoolExecutor(16) as pool:
        charging = [pool.submit(charge, gateway, f"key-{number}", "tok_ok") for number in range(5000)]
        wait_until(lambda: gateway.get("/summary")[1]["charges"] > 200)
        gateway.child.kill()
        for one in charging:
            one.cancel()
    answered = [one.result()[1] for one in charging if ended_well(one)]
    assert 100 < len(answered) < 5000
    with running("gateway", tmp_path) as again:
        book = {row["id"]: row for row in everything(again, "/charges")}
        assert [row for row in answered if book.get(row["id"]) != row] == []
        assert again.get("/summary")[1]["charged_amount"] == 1000 * len(book)


def ended_well(one: Future[Any]) -> bool:
    return not one.cancelled() and one.exception() is None


@pytest.mark.parametrize("signal", [SIGTERM, SIGINT])
def test_a_signal_ends_it_promptly_without_an_answer_to_waiting_calls(tmp_path: Path, signal: int) -> None:
    with running("gateway", tmp_path) as gateway, ThreadPoolExecutor() as pool:
        waiting = pool.submit(charge, gateway, "charged", "tok_timeout_charged")
        wait_until(lambda: bool(found(gateway, "charged")))
        gateway.child.send_signal(signal)
        assert gateway.child.wait(ENDS_WITHIN) == 0
        assert isinstance(waiting.exception(), urllib3.exceptions.ProtocolError)
    assert gateway.log.read_text() == f"gateway: listening on http://127.0.0.1:{gateway.port}\n"


def test_a_port_in_use_gives_one_line_and_exit_code_1(gateway: Simulator, tmp_path: Path) -> None:
    second = launch("gateway", tmp_path, port=gateway.port)
    assert second.child.wait(20) == 1
    [line] = second.log.read_text().splitlines()
    assert line.startswith(f"gateway: can't listen on 127.0.0.1:{gateway.port} (Address already in use)")


def test_a_book_that_is_none_gives_one_line_and_exit_code_1(tmp_path: Path) -> None:
    book = tmp_path / "book.sqlite3"
    book.write_bytes(b"no book at all" * 100)
    started = launch("gateway", tmp_path, port=ports.free())
    assert started.child.wait(20) == 1
    [line] = started.log.read_text().splitlines()
    assert line == f"gateway: can't open the book {book} (file is not a database); choose another --book"


def test_the_latency_is_that_of_charges_and_refunds_alone(tmp_path: Path) -> None:
    with running("gateway", tmp_path, "--latency-ms", "400") as gateway:
        began = time.monotonic()
        made = charge(gateway, "key", "tok_ok")[1]
        assert time.monotonic() - began >= 0.4
        began = time.monotonic()
        gateway.post("/refunds", {"charge": made["id"], "amount": 1}, key="refund")
        assert time.monotonic() - began >= 0.4
        began = time.monotonic()
        for _ in range(20):
            found(gateway, "key")
        assert time.monotonic() - began < 20 * 0.4


SLOW_MS = 300


def seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


@pytest.fixture(scope="module")
def slow_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A gateway whose latency was changed while it runs; it holds the charge of the key `made`."""
    with running("gateway", tmp_path_factory.mktemp("slow"), "--latency-ms", "0") as started:
        charge(started, "made", "tok_ok")
        assert started.post("/latency", {"ms": SLOW_MS}) == (200, {"ms": SLOW_MS, "configured_ms": 0})
        yield started


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", "/charges", asked("tok_ok")),
        ("POST", "/charges", asked("tok_error")),
        ("POST", "/charges", asked("no such token")),
        ("GET", "/charges?key=made", None),
        ("GET", "/charges?key=absent&limit=1000", None),
        ("POST", "/charges/cancel", {"key": "never charged"}),
        ("POST", "/charges/cancel", {"key": "made"}),
        ("POST", "/refunds", {"charge": "ch_absent", "amount": 1}),
        ("GET", "/refunds?key=made", None),
    ],
)
def test_every_call_takes_the_latency_that_was_set_whatever_its_answer(
    slow_gateway: Simulator, key: str, method: str, path: str, fields: dict[str, Any] | None
) -> None:
    more = {"json": fields, "headers": {"Idempotency-Key": key}} if fields else {}
    seconds = seconds_of(lambda: slow_gateway.call(method, path, **more))
    assert SLOW_MS / 1000 <= seconds < 10 * SLOW_MS / 1000


def test_a_refund_takes_the_latency_that_was_set(slow_gateway: Simulator, key: str) -> None:
    [made] = found(slow_gateway, "made")
    fields = {"charge": made["id"], "amount": 1}
    assert seconds_of(lambda: slow_gateway.post("/refunds", fields, key=key)) >= SLOW_MS / 1000


def test_the_whole_book_stays_quick_while_every_call_is_slow(slow_gateway: Simulator) -> None:
    paths = ["/charges", "/charges?limit=10", "/charges?order=order-1", "/refunds", "/webhooks", "/summary"]
    seconds = seconds_of(lambda: [slow_gateway.call("GET", path) for path in paths * 3])
    assert seconds < len(paths * 3) * SLOW_MS / 1000


def test_the_configured_latency_is_back_once_the_other_is_deleted(tmp_path: Path) -> None:
    with running("gateway", tmp_path, "--latency-ms", "1") as gateway:
        gateway.post("/latency", {"ms": 30_000})
        assert gateway.get("/latency") == (200, {"ms": 30_000, "configured_ms": 1})
        assert gateway.call("DELETE", "/latency") == (200, {"ms": None, "configured_ms": 1})
        assert seconds_of(lambda: charge(gateway, "key", "tok_ok")) < 20


def test_the_configured_latency_is_back_after_a_restart(tmp_path: Path) -> None:
    with running("gateway", tmp_path, "--latency-ms", "1") as gateway:
        gateway.post("/latency", {"ms": 30_000})
    with running("gateway", tmp_path, "--latency-ms", "1") as again:
        assert again.get("/latency") == (200, {"ms": None, "configured_ms": 1})


@pytest.mark.parametrize("fields", [{}, {"ms": -1}, {"ms": 60_001}, {"ms": True}, {"ms": "2600"}])
def test_a_latency_that_is_none_is_refused_and_changes_nothing(
    gateway: Simulator, fields: dict[str, Any]
) -> None:
    status, answer = gateway.post("/latency", fields)
    assert (status, answer["code"], answer["field"]) == (400, "invalid", "ms")
    assert gateway.get("/latency")[1]["ms"] is None


def test_it_loads_no_django() -> None:
    program = "import sys, scripts.simulators.gateway; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
