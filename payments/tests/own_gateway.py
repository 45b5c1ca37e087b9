"""The test run's own gateway simulator, with an empty book at the start of each test that uses it.

The gateway that all tests share keeps the charges of earlier tests, whose payments are deleted, so tests that
compare books use this one. Tests of webhooks start one with their address:
`gateway_calling(f"{address}/api/v1/webhooks/simulator")`.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from django.conf import LazySettings

from payments.gateways import calls
from scripts.stack import ports
from scripts.tests.circles import once_a_session
from scripts.tests.simulator import Simulator, running, serving


@pytest.fixture(scope="session")
@once_a_session
def gateway_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Simulator, Path]]:
    """The process and the folder of its book."""
    folder = tmp_path_factory.mktemp("gateway")
    with running("gateway", folder, "--latency-ms", "0") as simulator:
        yield simulator, folder


@pytest.fixture
def own_gateway(gateway_process: tuple[Simulator, Path], settings: LazySettings) -> Simulator:
    """The run's own gateway, with an empty book, which the shop uses in this test."""
    simulator, folder = gateway_process
    empty_book(folder)
    settings.GATEWAY_URL = f"http://{ports.HOST}:{simulator.port}"
    return simulator


def empty_book(folder: Path) -> None:
    """Delete all charges from the book of the gateway of this folder."""
    with closing(sqlite3.connect(folder / "book.sqlite3", timeout=10)) as book, book:
        for table in ("refunds", "confirmations", "disputes", "charges", "attempts", "webhooks"):
            book.execute(f"DELETE FROM {table}")  # noqa: S608 - names written here


@pytest.fixture
def gateway_calling(tmp_path: Path, settings: LazySettings) -> Iterator[Callable[[str], Simulator]]:
    """Start a gateway that posts its webhooks to the address; the shop uses it in this test."""
    with ExitStack() as started:

        def start(webhook_url: str) -> Simulator:
            options = ["--latency-ms", "0", "--webhook-url", webhook_url]
            simulator = started.enter_context(serving("gateway", tmp_path, *options))
            settings.GATEWAY_URL = f"http://{ports.HOST}:{simulator.port}"
            return simulator

        yield start


@contextmanager
def nobody_there(settings: LazySettings) -> Iterator[None]:
    """No gateway is reachable at its address, until the block ends."""
    there = settings.GATEWAY_URL
    settings.GATEWAY_URL = f"http://{ports.HOST}:{ports.free()}"
    yield
    settings.GATEWAY_URL = there
    calls.forget()
