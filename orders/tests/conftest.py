"""A gateway and a data platform with empty books for every test, and real Celery workers on its database."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest
from celery import current_app as app
from django.conf import settings
from django.db import transaction

from accounts.tests.clients import client_of, new_superuser
from events.tests.own_data_platform import SECRET
from foundation.tests.second_process import environment
from inventory.tests.factories import ProductFactory
from orders import rows as order_rows
from orders.placement import checkout
from orders.saga import run
from orders.saga.run import POOL_SIZES, Executor, ThreadPools
from orders.tests import buying, rabbitmq, stepping
from orders.tests.hanging import away, impatient
from orders.tests.transmitting import transmitting
from scripts.stack import children, ports
from scripts.tests.circles import boots
from scripts.tests.simulator import Simulator

__all__ = ["away", "impatient", "transmitting"]


@pytest.fixture(autouse=True)
def _stepped_executor(monkeypatch):
    """Replaces the process's executor by one that works in the caller's thread."""
    monkeypatch.setattr(run, "process_executor", lambda: stepping.Delegate())


@pytest.fixture(autouse=True)
def _empty_books(own_gateway, own_data_platform):
    """Starts each test with empty books: the laws compare all of a book."""


@pytest.fixture
def unlawful():
    """For a test that leaves a law broken."""


@pytest.fixture(autouse=True)
def _laws_hold(_empty_books, request):
    """At the end of each test every law holds."""
    yield
    if request.node.get_closest_marker("django_db") and "unlawful" not in request.fixturenames:
        assert buying.broken_laws() == []


@pytest.fixture
def numbers_at_hand():
    """The process has order numbers left, as after its first order: its transactions in a test may not
    commit.
    """
    with transaction.atomic():
        order_rows._left.extend(order_rows._take_block())


@pytest.fixture
def buyer():
    return buying.account(points=1_000)


@pytest.fixture
def product():
    return ProductFactory(on_hand=100, price=500)


@pytest.fixture(params=checkout.STRATEGIES)
def strategy(request, settings):
    """The strategy by which this test's orders are placed."""
    settings.INVENTORY_STRATEGY = request.param
    return request.param


@pytest.fixture
def staff():
    return new_superuser()


@pytest.fixture
def api(buyer):
    return client_of(buyer)


def start_worker(
    log: Path, simulator, data_platform: Simulator | None = None, **more: str
) -> "subprocess.Popen[bytes]":
    """A worker process as `make run` starts it, on the test database; returns once it answers.

    It publishes to the test's data platform, unless another is given. `more` are environment variables.
    """
    data_platform_url = (
        f"http://{ports.HOST}:{data_platform.port}" if data_platform else settings.DATA_PLATFORM_URL
    )
    usual = {
        "GATEWAY_URL": f"http://{ports.HOST}:{simulator.port}",
        "DATA_PLATFORM_URL": data_platform_url,
        "EVENT_SECRET": SECRET,
    }
    own = environment(**usual | more)
    command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "--pool", "threads"]
    child = children.start(
        [*command, "--concurrency", "4", "--without-gossip", "--without-mingle"], log=log, environment=own
    )
    answers = functools.partial(_answers, own["BROKER_URL"])
    children.wait_until(answers, name="worker", child=child, log=log, within_seconds=30)
    return child


def _answers(broker_url):
    if broker_url.startswith("amqp:"):
        return rabbitmq.has_worker(broker_url)
    return bool(app.control.ping(timeout=0.5))


@pytest.fixture(scope="module")
@boots("a worker")
def worker(django_db_setup, gateway_process, data_platform_process, tmp_path_factory):
    """A worker for all tests of a module."""
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    child = start_worker(log, gateway_process[0], data_platform_process[0])
    yield
    children.stop(child)


@pytest.fixture
def threaded():
    """An executor with its threads."""
    made = Executor(pools=ThreadPools(POOL_SIZES))
    yield made
    # Sagas in progress would disturb the next test.
    assert made.finish(seconds=20)
