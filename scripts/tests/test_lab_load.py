"""The lab's callers as k6 plays them, against a server whose every answer is known."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

import pytest

from scripts.bench import load
from scripts.lab import figures, loads
from scripts.lab.figures import Figures
from scripts.lab.loads import Load
from scripts.stack import SetupError
from scripts.stack.instance import Instance

CALLERS = 12
Told = tuple[int, dict, dict[str, str]]
COUPON: Told = (201, {"code": "C"}, {})
SAME: Told = (200, {"code": "C"}, {})
SOLD_OUT: Told = (409, {"code": "sold_out"}, {})
BUSY: Told = (503, {"code": "unavailable"}, {"Retry-After": "1"})
FAILED: Told = (502, {"code": "partner_failed"}, {})
TICKET: Told = (202, {"id": "T", "status": "waiting"}, {"Retry-After": "1"})
WAITING: Told = (200, {"status": "waiting"}, {"Retry-After": "1"})
LOST: Told = (200, {"status": "failed"}, {})
ISSUED: Told = (200, {"status": "issued"}, {})


class Shop(ThreadingHTTPServer):
    """Tells each account these answers, one after the other, and the last one again."""

    daemon_threads = True

    def __init__(self, answers: list[Told]) -> None:
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
            told = self.server.answers[min(len(calls), len(self.server.answers)) - 1]
        status, body, headers = told
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def telling() -> Iterator:
    opened: list[Shop] = []

    def tell(*answers: Told) -> Shop:
        shop = Shop(list(answers))
        opened.append(shop)
        Thread(target=shop.serve_forever, daemon=True).start()
        return shop

    yield tell
    for shop in opened:
        shop.shutdown()
        shop.server_close()


def ask(shop: Shop, home: Path, one: Load, *, persists: int = 0, patience: int = 20) -> Figures:
    metrics, took = measured(shop, home, one, persists=persists, patience=patience)
    return figures.read(metrics, processor_seconds=took)


def measured(
    shop: Shop, home: Path, one: Load, *, persists: int = 0, patience: int = 20
) -> tuple[figures.Metrics, float]:
    (home / "log").mkdir(exist_ok=True)
    users = [{"access": f"token-{number}"} for number in range(CALLERS)]
    (home / "tokens.json").write_text(json.dumps({"users": users}))
    known = {"TOKENS": home / "tokens.json", "CAMPAIGN": 7, "PERSISTS": persists, "PATIENCE": patience}
    instance = Instance(home=home, port=shop.server_address[1], database="mariadb")
    settings = loads.settings(one) | known
    return load.measure("lab/coupons", settings, instance=instance, within_seconds=90)


AT_ONCE = loads.at_once(CALLERS, quantity=1)


def test_everybody_asks_once_and_takes_no_for_an_answer(telling, tmp_path: Path):
    shop = telling(SOLD_OUT)
    told = ask(shop, tmp_path, AT_ONCE)
    assert told.answers == {"409 sold_out": CALLERS}
    assert (told.asked, told.coupons, told.unsure) == (CALLERS, 0, 0)
    assert Counter(map(tuple, shop.asked.values())) == {("POST /api/v1/coupons",): CALLERS}


def test_who_persists_comes_again_until_there_is_an_answer_that_lasts(telling, tmp_path: Path):
    told = ask(telling(BUSY, FAILED, COUPON), tmp_path, AT_ONCE, persists=1)
    assert told.answers == {
        "201": CALLERS,
        "502 partner_failed": CALLERS,
        "503 unavailable": CALLERS,
    }
    assert (told.coupons, told.unsure) == (CALLERS, 0)
    assert told.settled_p95_ms >= 1000


def test_a_coupon_that_was_there_already_is_theirs_only_if_they_came_again(telling, tmp_path: Path):
    again = ask(telling(BUSY, SAME), tmp_path, AT_ONCE, persists=1)
    at_first = ask(telling(SAME), tmp_path, AT_ONCE)
    assert (again.coupons, at_first.coupons) == (CALLERS, 0)
    assert at_first.answers == {"200": CALLERS}


def test_a_ticket_is_followed_to_its_end(telling, tmp_path: Path):
    shop = telling(TICKET, WAITING, ISSUED)
    told = ask(shop, tmp_path, AT_ONCE)
    assert (told.answers, told.tickets) == ({"202": CALLERS}, {"issued": CALLERS})
    assert (told.coupons, told.polls, told.unsure) == (CALLERS, 2 * CALLERS, 0)
    assert told.settled_p95_ms >= 2000
    calls = ("POST /api/v1/coupons", *["GET /api/v1/queue-tickets/T"] * 2)
    assert {tuple(each) for each in shop.asked.values()} == {calls}


def test_who_persists_stands_in_line_again_after_a_ticket_that_failed(telling, tmp_path: Path):
    shop = telling(TICKET, LOST, TICKET, ISSUED)
    told = ask(shop, tmp_path, AT_ONCE, persists=1)
    assert (told.answers, told.tickets) == ({"202": 2 * CALLERS}, {"failed": CALLERS, "issued": CALLERS})
    assert told.coupons == CALLERS
    taken_as_said = ask(telling(TICKET, LOST), tmp_path, AT_ONCE)
    assert (taken_as_said.coupons, taken_as_said.unsure) == (0, 0)


def test_patience_ends(telling, tmp_path: Path):
    told = ask(telling(TICKET, WAITING), tmp_path, AT_ONCE, patience=2)
    assert (told.coupons, told.unsure) == (0, CALLERS)


def test_each_step_has_figures_and_accounts_of_its_own(telling, tmp_path: Path):
    shop = telling(COUPON)
    one = loads.steps((1, 2), 1, accounts=CALLERS, quantity=CALLERS)
    assert [executor["env"]["FIRST"] for executor in one.executors.values()] == ["0", str(CALLERS // 2)]

    metrics, took = measured(shop, tmp_path, one)

    told = figures.read(metrics, processor_seconds=took)
    assert told.asked == told.coupons == sum(map(len, shop.asked.values())) > CALLERS
    first, second = figures.steps(metrics, [1, 2], seconds=1)
    assert (first["vus"], second["vus"]) == (1, 2)
    assert first["per_second"] > 0 and second["per_second"] > 0
    assert first["per_second"] + second["per_second"] <= told.asked


def test_the_lab_loads_nobody_but_loopback(telling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Instance, "url", "http://example.com:80")
    with pytest.raises(SetupError, match="loopback only"):
        ask(telling(COUPON), tmp_path, AT_ONCE)
