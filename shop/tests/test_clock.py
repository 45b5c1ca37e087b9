"""One clock for all processes: the database's, also on hosts with a wrong one; and floats for times alone."""

import ast
import os
import re
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.apps import apps
from django.db import connection, models
from django.test import Client
from django.utils import timezone
from structlog.testing import capture_logs

from accounts.tokens import authentication, token_pairs
from coupons import issuing
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory, coupon_of
from foundation import clock, starting
from foundation.clock import Measurement
from foundation.errors import FirstcomeError, NotAuthenticated
from foundation.fields import CreatedAtField
from foundation.idempotency import recorded_answers
from foundation.models import IdempotencyKey
from foundation.tests import openapi_document, process_state
from foundation.tests.factories import AccountFactory, OrderFactory, reloaded
from foundation.tests.outages import database_away
from foundation.tests.racing import wait_until
from foundation.tests.second_connection import another_connection, ask, is_connected
from foundation.tests.second_process import environment
from inventory.tests.factories import ProductFactory
from orders import cancellation, order_states, selectors
from orders.models import Order, Saga
from orders.tests import stepping
from scripts.stack import places
from scripts.tests import programs

pytestmark = pytest.mark.django_db(transaction=True)
QUARTER = timedelta(minutes=15)
# The most time that a slow machine takes between two readings that should be equal.
CLOSE = timedelta(milliseconds=500)


@pytest.fixture
def unstarted(monkeypatch):
    """A process that has not read the clock yet; threads that it starts end with the test."""
    process_state.follow_host()
    monkeypatch.setattr(clock, "_has_begun", False)
    yield
    process_state.follow_host()


def set_host_ahead(monkeypatch, by: timedelta):
    monkeypatch.setattr(clock, "_host_seconds", lambda: time.time() + by.total_seconds())


def database_now() -> datetime:
    with another_connection() as other:
        [[read]] = ask(other, "SELECT UTC_TIMESTAMP(6)")
    return read.replace(tzinfo=UTC)


def measured(base: float, *, error=0.0) -> Measurement:
    return Measurement(base, error, 0.0, time.clock_gettime(clock.TICKS))


@pytest.mark.parametrize("by", [QUARTER, -QUARTER])
def test_a_process_uses_the_databases_clock_on_a_host_with_a_wrong_clock_that_jumps(
    unstarted, monkeypatch, by
):
    set_host_ahead(monkeypatch, by)

    assert abs(clock.now() - database_now()) < CLOSE
    assert clock.now().tzinfo is UTC
    assert clock.host_offset_seconds() == pytest.approx(by.total_seconds(), abs=0.5)
    before = clock.now()
    set_host_ahead(monkeypatch, 2 * by)
    assert timedelta(0) <= clock.now() - before < CLOSE
    assert clock.host_offset_seconds() == pytest.approx(2 * by.total_seconds(), abs=0.5)


def test_a_measurement_uses_and_closes_its_own_connection(unstarted):
    threads = set()
    used = set()
    real = clock._sample

    def sample(cursor):
        threads.add(threading.current_thread().name)
        used.add(cursor.db.connection.thread_id())
        assert not cursor.db.in_atomic_block
        assert cursor.db is not connection
        return real(cursor)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(clock, "_sample", sample)
        clock.now()

    assert threads == {"clock"}
    [number] = used
    wait_until(lambda: not is_connected(number))


@pytest.mark.parametrize(
    ("correction", "error", "followed", "logged"),
    [(0.8, 0.0, 0.8, []), (-0.05, 0.0, -0.05, []), (-600, 0.0, -600, [-600.0]), (0.02, 0.03, 0, [])],
)
def test_a_correction_applies_at_once_unless_the_measurement_agrees_and_a_large_one_is_logged(
    unstarted, monkeypatch, correction, error, followed, logged
):
    monkeypatch.setattr(clock, "_has_begun", True)
    base = time.time() - time.clock_gettime(clock.TICKS)
    clock._adopt(measured(base))
    with capture_logs() as lines:
        clock._adopt(measured(base + correction, error=error))

    assert clock._base == base + followed
    seconds = clock.seconds() - time.clock_gettime(clock.TICKS)
    assert seconds == pytest.approx(base + followed, abs=CLOSE.total_seconds())
    followed_lines = [line for line in lines if "clock has changed" in line["event"]]
    assert [line["seconds"] for line in followed_lines] == logged


def test_a_process_without_a_database_at_the_start_waits_and_is_not_ready(unstarted, monkeypatch):
    monkeypatch.setattr(clock, "RETRY_SECONDS", 0.05)
    set_host_ahead(monkeypatch, QUARTER)
    with capture_logs() as logged, database_away():
        clock.start()
        assert not clock.is_measured()
        assert clock.now() - timezone.now() == pytest.approx(QUARTER, abs=CLOSE)
        answer = Client().get("/readyz")
        assert answer.status_code == 503
        assert {"database", "clock"} <= set(answer.json()["down"])
        time.sleep(0.3)  # some more attempts
    wait_until(clock.is_measured)

    assert abs(clock.now() - database_now()) < CLOSE
    failures = [line for line in logged if "can't be read; trying" in line["event"]]
    assert len(failures) == 1


def test_the_clock_keeps_running_if_the_database_fails_later(unstarted, monkeypatch):
    monkeypatch.setattr(clock, "PERIOD_SECONDS", 0.05)
    monkeypatch.setattr(clock, "RETRY_SECONDS", 0.05)
    set_host_ahead(monkeypatch, QUARTER)
    assert clock.now() - timezone.now() < CLOSE
    with database_away():
        wait_until(lambda: (clock.measurement_age_seconds() or 0) > 0.3)
        assert clock.is_measured()
        assert abs(clock.now() - timezone.now()) < CLOSE
    wait_until(lambda: (clock.measurement_age_seconds() or 9) < 0.2)


@pytest.mark.boots("a forked process")
def test_a_forked_process_measures_in_a_thread_of_its_own(unstarted):
    clock.now()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            seconds = (clock.now() - timezone.now()).total_seconds()
            names = [thread.name for thread in threading.enumerate()]
            os.write(writer, f"{abs(seconds) < 0.5} {names.count('clock')}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == "True 1"
    os.waitpid(child, 0)


def test_the_start_is_refused_only_if_the_clock_is_off_by_more_than_the_limit(
    unstarted, monkeypatch, settings, capfd
):
    monkeypatch.setattr(starting, "PAUSE_SECONDS", 0)
    set_host_ahead(monkeypatch, timedelta(seconds=-3))
    with pytest.raises(SystemExit) as ended:
        clock.start()
    assert ended.value.code == 1
    [line] = capfd.readouterr().err.splitlines()
    assert "this host's clock is 3.0 s behind the database's" in line
    assert "CLOCK_SKEW_SECONDS allows 2 s" in line

    settings.CLOCK_SKEW_SECONDS = 5
    clock.start()
    assert clock.is_measured()

    settings.CLOCK_SKEW_SECONDS = 2
    with pytest.raises(SystemExit):  # also where the time was asked for before
        clock.start()


AHEAD = """
import runpy, sys, time
from foundation import clock
clock._host_seconds = lambda: time.time() + 900
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
ENTRY_POINTS = {
    "worker": ["celery", "-A", "shop", "worker", "--pool", "threads", "--loglevel", "INFO"],
    "beat": ["celery", "-A", "shop", "beat", "--pidfile", "", "--loglevel", "ERROR"],
    "issuer": ["django", "run_issuer"],
    "issuer once": ["django", "run_issuer", "--once"],
    "web": ["gunicorn", "--config", "python:shop.web_server", "--workers", "2"],
}


def run_ahead(*words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the module's command on this test's database and a host whose clock is 15 minutes ahead."""
    path = f"{places.PROJECT}:{folder}"
    own = environment(DJANGO_SETTINGS_MODULE="shop.settings", PYTHONPATH=path)
    return programs.end([sys.executable, "-c", AHEAD, *words], folder, seconds=60, **own)


@pytest.mark.boots("a Python process")
@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_serving_processes_refuse_to_start_on_a_host_15_minutes_ahead(name, tmp_path):
    ended = run_ahead(*ENTRY_POINTS[name], folder=tmp_path)

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert re.match(
        r"firstcome: not starting: this host's clock is (900|899)\.\d s ahead of the database's, ",
        ended.stderr,
    )


@pytest.mark.boots("a Python process")
def test_repair_commands_run_on_such_a_host_and_doctor_reports_it(tmp_path):
    doctor, audit, migrate = (
        run_ahead("django", *words.split(), folder=tmp_path)
        for words in ("doctor --json", "audit", "migrate --check")
    )

    assert '"database clock", "level": "danger"' in doctor.stdout
    assert re.search(r"-(900\.|899\.9)", doctor.stdout)
    assert "L1 " in audit.stdout, audit.stderr
    assert migrate.returncode == 0


@pytest.fixture
def host_ahead(unstarted, monkeypatch):
    """A process that uses the database's clock, on a host whose wall clock is 15 minutes ahead."""
    set_host_ahead(monkeypatch, QUARTER)
    assert clock.is_measured()


def in_minutes(minutes: int) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


def test_a_host_15_minutes_ahead_opens_no_campaign_early(host_ahead):
    campaign, account = CampaignFactory(opens_at=in_minutes(10)), AccountFactory()
    with pytest.raises(FirstcomeError) as refused:
        issuing.issue(campaign_id=campaign.pk, user_id=account.pk)

    assert refused.value.code == "campaign_not_open"
    assert 590 < (refused.value.retry_after or 0) <= 600

    # The control case uses its host's clock.
    process_state.follow_host()
    issuing.forget()
    assert issuing.issue(campaign_id=campaign.pk, user_id=account.pk).is_new


def test_a_host_15_minutes_ahead_expires_no_order_and_coupon_deletes_no_key_and_gives_up_no_payment(
    host_ahead, settings
):
    settings.IDEMPOTENCY_RETENTION_SECONDS = 600
    order = OrderFactory(expires_at=in_minutes(10))
    coupon = coupon_of(CampaignFactory(), expires_at=in_minutes(10))
    key = {"key_hash": "k" * 64, "fingerprint": "f" * 64, "status": 204, "created_at": in_minutes(0)}
    IdempotencyKey.objects.create(account=AccountFactory(), **key)
    due = {"deadline_at": in_minutes(10), "next_attempt_at": in_minutes(5), "leased_until": in_minutes(5)}
    about = {"kind": "top_up", "subject_id": uuid4(), "created_at": in_minutes(0), "lease_token": "other"}
    saga = Saga.objects.create(**about, **due)

    assert cancellation.expire_due() == 0
    assert not order_states.is_lapsed(order.status, order.expires_at, clock.now())
    assert reloaded(order).status == Order.Status.AWAITING_PAYMENT
    assert coupon.status_at(clock.now()) == Coupon.Status.ISSUED
    assert recorded_answers.delete_expired_keys() == 0
    assert stepping.due(limit=10) == list(selectors.read_needing_operator()) == []

    # The control case uses its host's clock.
    process_state.follow_host()
    assert order_states.is_lapsed(order.status, order.expires_at, clock.now())
    assert cancellation.expire_due() == 1
    assert coupon.status_at(clock.now()) != Coupon.Status.ISSUED
    assert recorded_answers.delete_expired_keys() == 1
    assert [one.id for one in selectors.read_needing_operator()] == [saga.id]
    assert [one.id for one in stepping.due(limit=10)] == [saga.id]


def test_tokens_are_valid_between_a_host_15_minutes_ahead_and_a_correct_one(host_ahead):
    account = AccountFactory()
    pair = token_pairs.create_token_pair(account)
    process_state.follow_host()
    with clock.shifted(by=timedelta(minutes=-15)):  # the right host
        assert authentication.verify_access_token(pair.access).id == account.pk
        right = token_pairs.rotate(pair.refresh)
    process_state.follow_host()
    with pytest.raises(NotAuthenticated):
        authentication.verify_access_token(right.access)  # the control case, with its host's clock


def test_rows_are_dated_by_the_databases_clock(host_ahead):
    product, campaign = ProductFactory(), CampaignFactory()

    for row in (product, campaign):
        row.refresh_from_db()
        assert abs(row.created_at - datetime.now(UTC)) < timedelta(seconds=30)
    created_at = product.created_at
    product.name = "Another"
    product.save()
    assert reloaded(product).created_at == created_at


COUNTING = ("coupons", "inventory", "orders", "payments", "sales")
# A float is allowed with one of these in a name of its statement, or of its function's signature.
TIMES = ("seconds", "_ms", "deadline", "until", "pause", "monotonic", "elapsed", "latency", "timeout")
# And with these names: times under other names, and gauges, whose values are always floats.
MOMENTS = {
    "coupons/metrics/state.py": {"read_running"},
    "inventory/mirror.py": {"now", "long_ago", "drift", "found", "started_before"},
    "orders/metrics/state.py": {"read_in_doubt", "read_stock"},
    "orders/saga/run.py": {"_found_at", "ends_at"},
    "orders/saga/backlog.py": {"_read_at", "_measured_at"},
    "payments/gateways/measured.py": {"CALLS"},
    "payments/audit.py": {"stop_at"},
    "sales/metrics.py": {"read_running"},
    "sales/waiting_room/draw.py": {"REST"},
    "sales/waiting_room/estimates.py": {"HELD_BACK", "_pace", "at", "between", "pace"},
    "sales/waiting_room/room_view.py": {"read_at"},
}
STATEMENTS = ast.stmt | ast.ExceptHandler | ast.match_case
FLOATING = {"float", "round", "fsum", "Decimal", "Avg", "FloatField", "DecimalField", "StdDev", "Variance"}


def floating(code: str, moments: set[str] = frozenset()) -> list[str]:
    """The statements that create or name a float, or divide into one, and contain no name of a time."""
    found = []
    for node in ast.walk(ast.parse(code)):
        part = list(_own(node)) if isinstance(node, STATEMENTS) else []
        names = {str(vars(inner).get(kind)) for inner in part for kind in ("id", "attr", "arg", "name")}
        is_timed = any(word in name.lower() for name in names for word in TIMES) or names & moments
        is_float = names & FLOATING or any(
            isinstance(inner, ast.Div) or isinstance(getattr(inner, "value", None), float) for inner in part
        )
        if is_float and not is_timed:
            found.append(ast.get_source_segment(code, node) or ast.unparse(node))
    return found


def _own(node):
    """The nodes of a statement, without those of nested statements, which are read by themselves."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, STATEMENTS):
            yield from _own(child)


def test_modules_use_floats_only_for_times():
    paths = [path for app in COUNTING for path in sorted((places.PROJECT / app).rglob("*.py"))]
    names = {
        str(path.relative_to(places.PROJECT)): path.read_text()
        for path in paths
        if not {"tests", "migrations"} & set(path.parts)
    }
    found = {name: floating(code, MOMENTS.get(name, set())) for name, code in names.items()}
    assert {name: statements for name, statements in found.items() if statements} == {}
    assert len(found) > 180
    assert names.keys() >= MOMENTS.keys()


def test_no_column_is_dated_by_its_host_and_no_column_that_counts_is_a_float():
    own = [model for model in apps.get_models() if model.__module__.partition(".")[0] in places.APPS]
    fields = [field for model in own for field in model._meta.get_fields()]
    dated = [one for one in fields if getattr(one, "auto_now", False) or getattr(one, "auto_now_add", False)]
    floats = [one for one in fields if isinstance(one, models.FloatField | models.DecimalField)]
    assert {type(field) for field in dated} == {CreatedAtField}
    assert [one for one in floats if one.model._meta.app_label in (*COUNTING, "shop")] == []


def test_the_api_accepts_and_returns_only_integers():
    kinds = list(_types(openapi_document.read()))
    assert kinds.count("integer") > 100
    assert "number" not in kinds


def _types(part):
    """Every `type` in the document, with the items of lists of types."""
    if isinstance(part, dict):
        kinds = part.get("type")
        yield from kinds if isinstance(kinds, list) else [kinds]
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _types(inner)
