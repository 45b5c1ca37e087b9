"""The lab's callers as k6 plays them, against a server whose every answer is known."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

import pytest

from scripts.lab import figures, loads
from scripts.lab.figures import Figures
from scripts.lab.loads import Load
from scripts.stack import SetupError
from scripts.stack.instance import Instance
from shop.tests.case_tables import in_one_test

pytestmark = pytest.mark.boots("k6")

CALLERS = 12
Reply = tuple[int, dict, dict[str, str]]
COUPON: Reply = (201, {"code": "C"}, {})
SAME: Reply = (200, {"code": "C"}, {})
SOLD_OUT: Reply = (409, {"code": "sold_out"}, {})
BUSY: Reply = (503, {"code": "unavailable"}, {"Retry-After": "1"})
FAILED: Reply = (502, {"code": "partner_failed"}, {})
TICKET: Reply = (202, {"id": "T", "status": "waiting"}, {"Retry-After": "1"})
WAITING: Reply = (200, {"status": "waiting"}, {"Retry-After": "1"})
LOST: Reply = (200, {"status": "failed"}, {})
ISSUED: Reply = (200, {"status": "issued"}, {})


class Shop(ThreadingHTTPServer):
    """Gives each account these answers, one after the other, and the last one again."""

    daemon_threads = True

    def __init__(self, answers: list[Reply]) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.answers = answers
        self.mutex = Lock()
        self.asked: defaultdict[str, list[str]] = defaultdict(list)


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Shop

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        with self.server.mutex:
            calls = self.server.asked[self.headers["Authorization"]]
            calls.append(f"{self.command} {self.path}")
            came = self.server.answers[min(len(calls), len(self.server.answers)) - 1]
        status, body, headers = came
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def serving() -> Iterator:
    opened: list[Shop] = []

    def serve(*answers: Reply) -> Shop:
        shop = Shop(list(answers))
        opened.append(shop)
        Thread(target=shop.serve_forever, daemon=True).start()
        return shop

    yield serve
    for shop in opened:
        shop.shutdown()
        shop.server_close()


PLACED: Reply = (201, {"id": "O", "status": "paid"}, {})
PAYING: Reply = (202, {"id": "O", "status": "paying"}, {})
STILL_PAYING: Reply = (200, {"id": "O", "status": "paying"}, {})
PAID: Reply = (200, {"id": "O", "status": "paid"}, {})


def ask(shop: Shop, home: Path, one: Load, *, persists: int = 0, patience: int = 20) -> Figures:
    metrics, took = measured(shop, home, one, persists=persists, patience=patience)
    return figures.read(metrics, processor_seconds=took)


def measured(
    shop: Shop, home: Path, one: Load, *, persists: int = 0, patience: int = 20, sort: str = "coupons"
) -> tuple[figures.Metrics, float]:
    (home / "log").mkdir(exist_ok=True)
    users = [{"access": f"token-{number}"} for number in range(CALLERS)]
    (home / "tokens.json").write_text(json.dumps({"users": users}))
    (home / "products.json").write_text("[1, 2]")
    known = {"TOKENS": home / "tokens.json", "CAMPAIGN": 7, "PERSISTS": persists, "PATIENCE": patience}
    known |= {"PRODUCTS": home / "products.json", "PAYS": 1, "RUN": "test"}
    instance = Instance(home=home, port=shop.server_address[1], database="mariadb")
    return loads.run_k6(sort, one, instance, **known)


AT_ONCE = loads.at_once(CALLERS, quantity=1)


def test_a_caller_that_persists_retries_until_the_answer_is_final(serving, tmp_path: Path):
    came = ask(serving(BUSY, FAILED, COUPON), tmp_path, AT_ONCE, persists=1)
    assert came.answers == {
        "201": CALLERS,
        "502 partner_failed": CALLERS,
        "503 unavailable": CALLERS,
    }
    assert (came.coupons, came.unsure) == (CALLERS, 0)
    assert came.settled_p95_ms >= 1000


def test_a_ticket_is_followed_to_its_end(serving, tmp_path: Path):
    shop = serving(TICKET, WAITING, ISSUED)
    came = ask(shop, tmp_path, AT_ONCE)
    assert (came.answers, came.tickets) == ({"202": CALLERS}, {"issued": CALLERS})
    assert (came.coupons, came.polls, came.unsure) == (CALLERS, 2 * CALLERS, 0)
    assert came.settled_p95_ms >= 2000
    calls = ("POST /api/v1/coupons", *["GET /api/v1/queue-tickets/T"] * 2)
    assert {tuple(each) for each in shop.asked.values()} == {calls}


def test_a_caller_that_persists_queues_again_after_a_ticket_that_failed(serving, tmp_path: Path):
    shop = serving(TICKET, LOST, TICKET, ISSUED)
    came = ask(shop, tmp_path, AT_ONCE, persists=1)
    assert (came.answers, came.tickets) == ({"202": 2 * CALLERS}, {"failed": CALLERS, "issued": CALLERS})
    assert came.coupons == CALLERS
    taken_as_said = ask(serving(TICKET, LOST), tmp_path, AT_ONCE)
    assert (taken_as_said.coupons, taken_as_said.unsure) == (0, 0)


def test_each_step_has_figures_and_accounts_of_its_own(serving, tmp_path: Path):
    shop = serving(COUPON)
    one = loads.steps((1, 2), 1, accounts=CALLERS, quantity=CALLERS)
    assert [executor["env"]["FIRST"] for executor in one.executors.values()] == ["0", str(CALLERS // 2)]

    metrics, took = measured(shop, tmp_path, one)

    came = figures.read(metrics, processor_seconds=took)
    assert came.asked == came.coupons == sum(map(len, shop.asked.values())) > CALLERS
    first, second = figures.steps(metrics, [1, 2], seconds=1)
    assert (first["vus"], second["vus"]) == (1, 2)
    assert first["per_second"] > 0 and second["per_second"] > 0
    assert first["per_second"] + second["per_second"] <= came.asked


RAMP = loads.ramp((1, 3), 3, warm_up=1, each=CALLERS)


def test_a_step_of_a_ramp_sends_at_most_one_request_of_each_account_and_is_judged_after_its_warm_up(
    serving, tmp_path: Path
):
    shop = serving(PLACED)
    metrics, _ = measured(shop, tmp_path, loads.step(RAMP, 3), sort="orders")
    assert Counter(map(tuple, shop.asked.values())) == {("POST /api/v1/orders",): CALLERS}
    quick = figures.judged(metrics, 3, seconds=3, warm_up=1)
    assert (quick["per_second"], quick["p95_ms"]) == (0, 0)  # all of it was over within the warm-up
    assert metrics["answer_201"]["count"] == CALLERS


def test_a_buyer_of_a_ramp_polls_its_order_until_it_is_paid(serving, tmp_path: Path):
    shop = serving(PAYING, STILL_PAYING, STILL_PAYING, PAID)
    metrics, _ = measured(shop, tmp_path, loads.step(RAMP, 1), sort="orders")
    assert {tuple(calls) for calls in shop.asked.values() if len(calls) > 3} == {
        ("POST /api/v1/orders", *["GET /api/v1/orders/O"] * 3)
    }
    step = figures.judged(metrics, 1, seconds=3, warm_up=1)
    assert step["failed"] == 0 and step["per_second"] >= 0.5 and step["p50_ms"] >= 600
    assert metrics["took"]["med"] < 600


@in_one_test("answers", [[BUSY], [PAYING, STILL_PAYING]])
def test_a_buyer_without_a_paid_order_has_failed(serving, tmp_path: Path, answers: list[Reply]):
    at_once = loads.step(loads.ramp([CALLERS], 4, warm_up=0, each=CALLERS), CALLERS)
    metrics, _ = measured(serving(*answers), tmp_path, at_once, sort="orders", patience=1)
    step = figures.judged(metrics, CALLERS, seconds=4, warm_up=0)
    assert (step["failed"], step["per_second"]) == (1, 0)


def test_the_lab_loads_loopback_alone(serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Instance, "url", "http://example.com:80")
    with pytest.raises(SetupError, match="loopback only"):
        ask(serving(COUPON), tmp_path, AT_ONCE)
