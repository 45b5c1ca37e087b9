"""What `make chaos` breaks, requires and measures: campaigns, faults, availability, what a restore loses."""

import re
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

from foundation.tests.case_tables import in_one_test
from lab import calls
from lab.calls import (
    Account,
    Answer,
    Call,
    NoFinalAnswer,
    Observations,
    Product,
    RecordedCall,
    Request,
    Setup,
)
from lab.chaos import comparison, faults
from lab.chaos.campaigns import network, releases, restore, trials
from lab.chaos.campaigns.catalog import CAMPAIGNS, SOAK
from lab.chaos.campaigns.plans import unanswered
from lab.chaos.campaigns.run import Campaign, Run, unmet
from lab.chaos.faults import Fault
from lab.stack import prometheus
from scripts.stack import SetupError, instance as instances, ports
from scripts.stack.instance import Instance


@in_one_test("name", CAMPAIGNS)
def test_a_campaign_breaks_what_can_be_broken_and_has_a_planted_defect_that_it_must_find(name):
    campaign = CAMPAIGNS[name]
    # A kind of run of its own has a defect of its own.
    assert campaign.planted or campaign.planted_faults or campaign.kind is not Run
    of_their_own = {"releases": "replace", "upgrade": "replace", "month": "next day of", "restore": "lose"}
    for fault in [*campaign.plan("1", is_quick=False), *campaign.planted_faults]:
        assert fault.sort in {"kill", "flush", of_their_own.get(name), *faults.LASTING}
        if fault.sort in {*network.State}:
            assert fault.name in campaign.links
    assert campaign.plan("1", is_quick=True) == campaign.plan("1", is_quick=True)


def test_faults_that_no_request_has_met_are_a_finding():
    seen = Observations()
    assert [*unmet(CAMPAIGNS["database"], seen)] == [
        "no request was answered 503 unavailable: the faults had no effect"
    ]
    seen.count("503 unavailable", 0.1)
    assert not [*unmet(CAMPAIGNS["database"], seen)]


@in_one_test(
    ("result", "findings"),
    [("201", []), ("503 unavailable", ["while Redis was away none of 2 requests of /orders was answered"])],
)
def test_orders_that_are_all_refused_while_redis_is_away_are_a_finding(result, findings):
    seen = Observations()
    seen.requests += [request(9), request(10.5, "503 unavailable"), request(11, result)]
    assert [*unanswered(seen, [(10, 12)])] == findings


def test_coupons_of_campaigns_that_need_redis_are_not_asked_to_be_answered_without_it():
    seen, needs = Observations(), "This needs Redis, which is unavailable; nothing was done."
    seen.requests.append(Request(10.5, 10.6, "POST", "/coupons", "503 unavailable", needs))
    assert not [*unanswered(seen, [(10, 12)])]
    seen.requests.append(Request(10.5, 10.6, "POST", "/coupons", "503 unavailable", "The database is away."))
    assert [*unanswered(seen, [(10, 12)])]


def test_no_answer_and_every_5xx_but_503_are_failed_requests():
    good = ["201", "202", "402 payment_declined", "409 sold_out", "503 unavailable"]
    bad = ["no answer", "500 internal_error", "502 partner_failed", "599 not_json"]
    requests = [request(0, text) for text in good + bad]
    assert releases.failures(requests) == dict.fromkeys((f"POST /orders: {one}" for one in bad), 1)
    # A web server that is stopped without draining closes what is idle.
    assert releases.failures(requests, undrained=[(0, 1)]).keys() == {
        f"POST /orders: {one}" for one in bad[1:]
    }


MOMENT, LOST_AT = 100.0, 106.0
NOTHING = {kind: set[str]() for kind in comparison.TABLES}


def order(order_id: str, answered_at: float, *, key="a-key") -> RecordedCall:
    call = Call("POST", "/orders", "token", {"items": []}, key)
    return RecordedCall("order", call, Answer(201, {"id": order_id}), answered_at)


def setup(*calls: RecordedCall) -> Setup:
    return Setup(Account(0, "staff"), [Account(1, "token", calls=list(calls))], [], [], Product(1, 10))


@in_one_test(
    ("answered", "stored", "finding", "forgotten"),
    [
        ({"early": 99.9, "late": 100.1}, ["late"], "early is not on the restored database", 0),
        # What was acknowledged after the moment, and is lost, is measured.
        ({"early": 99.9, "late": 100.0, "later": 105.9}, ["early", "late"], "", 1),
        ({"after": LOST_AT + 20}, [], "after is not on the restored database", 0),
        ({"known": 120.0}, ["known", "twice"], "twice on the restored database was in no answer", 0),
    ],
)
def test_what_a_restore_to_a_moment_lost_or_made_twice_is_found(answered, stored, finding, forgotten):
    calls, rows = setup(*(order(name, at) for name, at in answered.items())), NOTHING | {"order": set(stored)}
    lost = restore.forget(calls, rows, MOMENT, LOST_AT)
    known = comparison.acknowledged(calls)
    missing, doubled = comparison.compare(known, {"the restored database": rows}, before=NOTHING)
    assert [*missing, *doubled] == ([f"order {finding}"] if finding else [])
    assert len(lost) == forgotten


def test_a_fault_that_can_not_be_made_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "PATIENCE_SECONDS", 0.3)
    run = Run(CAMPAIGNS["gateway"], Instance(home=tmp_path, port=ports.free(2), database="sqlite"), "1")
    run.campaign = replace(run.campaign, ready_seconds=1)
    with pytest.raises(NoFinalAnswer, match="POST /latency"):
        run.make(Fault("slow", "gateway", 0.1))
    assert run.made == 0
    with pytest.raises(SetupError, match="the shop was not ready 1 s later"):
        run.make(Fault("kill", "web", 0))


def test_a_gateway_that_does_not_get_slow_is_a_fault_that_can_not_be_made(tmp_path, monkeypatch):
    refusing = SimpleNamespace(call_until_final=lambda call, until: Answer(404, {"code": "not_found"}))
    monkeypatch.setattr(calls, "to_gateway", lambda port: refusing)
    fault, instance = Fault("slow", "gateway", 0), Instance(home=tmp_path, port=1, database="sqlite")
    with pytest.raises(SetupError, match="POST /latency is answered"), faults.lasting(fault, instance):
        pass


class Idle(Run):
    """Nothing is asked, and nothing is broken."""

    def prepare(self) -> dict[str, str]:
        return {}

    def stack(self, settings) -> AbstractContextManager[None]:
        return nullcontext()

    def set_up(self):
        self.setup, self.before = setup(), NOTHING

    def load(self) -> float:
        return 0.0

    def settle(self) -> float:
        return 0.0

    def rows(self, statement: str, *values) -> list[tuple[str]]:
        return []

    def check(self):
        pass


def test_a_run_in_which_nothing_was_done_is_no_success(tmp_path):
    run = Idle(Campaign("idle", {}), Instance(home=tmp_path, port=1, database="sqlite"), "1")
    assert run.run() == 1
    assert run.seen.findings == ["0 calls had an effect, 0 faults were made: that shows nothing"]


def test_what_was_found_is_said_though_something_fails(capsys):
    seen = Observations()
    with pytest.raises(NoFinalAnswer), seen.printed():
        seen.record_finding("twice")
        raise NoFinalAnswer
    assert "FINDING twice" in capsys.readouterr().out


def request(began: float, result="201", *, seconds=0.1, path="/orders") -> Request:
    return Request(began, began + seconds, "POST", path, result)


def test_a_request_is_good_unless_the_shop_is_at_fault():
    good = ["200", "202", "304", "402 payment_declined", "409 sold_out", "409 idempotency_key_in_flight"]
    good += ["429 throttled"]
    bad = ["409 lock_not_acquired", "500 internal_error", "502 partner_failed", "503 overloaded"]
    bad += ["503 unavailable", "599 not_json", "no answer"]
    assert [result for result in good + bad if request(0, result).is_good] == good


def test_requests_that_overlap_with_an_outage_are_taken_out(capsys):
    began = {"before": 9.0, "into it": 9.95, "in it": 11.0, "out of it": 11.95, "after": 12.01}
    requests = [request(at, f"503 {name}") for name, at in began.items()]
    around = request(9.5, "503 around", seconds=5)
    [_] = trials.availability(Observations(requests=[*requests, around], outages=[(10.0, 12.0)]))
    said = capsys.readouterr().out
    assert "outside of outages: 0.000% of 2 requests (1 x 503 before, 1 x 503 after)" in said
    assert "with outages: 0.000% of 6 requests" in said


def test_a_soak_without_a_request_has_a_finding():
    assert [*trials.availability(Observations())]


@pytest.mark.parametrize(("bad", "is_below"), [(1, False), (2, True)])
def test_a_soak_below_the_goal_has_a_finding(bad, is_below, capsys):
    requests = [request(0)] * (1000 - bad) + [request(0, "no answer")] * bad
    assert bool([*trials.availability(Observations(requests=requests))]) is is_below
    assert f"{1 - bad / 1000:.3%} of 1000 requests ({bad} x no answer)" in capsys.readouterr().out


class Calm(trials.Soak):
    def make_faults(self) -> float:
        time.sleep(self.campaign.client_seconds)
        self.made = 1  # to be calm is what is done here
        return 0.0


@pytest.mark.boots("another process of the shop")
def test_every_request_is_answered_and_every_query_of_the_dashboards_has_data(tmp_path, capsys):
    port = str(ports.free(instances.PORTS))
    instance = instances.choose(home=tmp_path, port=port, database="mariadb")
    code = Calm(replace(SOAK, name="calm", client_seconds=30), instance, "1").run()
    said = capsys.readouterr().out
    assert code == 0, said
    boards = re.findall(r"(\d+) of (\d+) queries have data", said)
    assert len(boards) == len(prometheus.dashboards())
    assert all(found == count != "0" for found, count in boards)
    assert re.search(r"availability with outages: 100.000% of \d{2,} requests", said)
