"""The test run's own gateway simulator, with an empty book at the start of each test that uses it.

The gateway that all tests share keeps the charges of earlier tests, whose payments are deleted, so tests that
compare books use this one.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.conf import LazySettings

from payments import gateways
from payments.gateways import calls, simulator
from payments.gateways.contract import GatewayResult
from scripts.stack import ports
from scripts.tests.circles import once_a_session
from scripts.tests.simulator import POOL, running


@pytest.fixture(scope="session")
@once_a_session
def gateway_process(tmp_path_factory):
    """The process and the folder of its book."""
    folder = tmp_path_factory.mktemp("gateway")
    with running("gateway", folder, "--latency-ms", "0") as process:
        yield process, folder


@pytest.fixture
def own_gateway(gateway_process, settings):
    """The run's own gateway, with an empty book, which the shop uses in this test."""
    process, folder = gateway_process
    empty_book(folder)
    settings.GATEWAY_URL = f"http://{ports.HOST}:{process.port}"
    return process


def empty_book(folder: Path):
    """Delete all charges from the book of the gateway of this folder."""
    for table in (
        "refund_failures",
        "refunds",
        "confirmations",
        "disputes",
        "charges",
        "attempts",
        "webhooks",
    ):
        change_book(folder, f"DELETE FROM {table}")  # noqa: S608 - names written here


def change_book(folder: Path, statement: str, values: Sequence[Any] = ()) -> int:
    """Change the book of the gateway of this folder; returns how many of its rows."""
    with closing(sqlite3.connect(folder / "book.sqlite3", timeout=10)) as book, book:
        return book.execute(statement, values).rowcount


@dataclass(frozen=True)
class AtGateway:
    """What the contract's tests do at a gateway itself: as at the simulator, unless a subclass differs.

    `fixture` starts the server; no charge has the reference `no_charge`.
    """

    server: Any
    fixture: ClassVar = "own_gateway"
    no_charge: ClassVar = "ch_none"

    @staticmethod
    def card(token: str) -> str:
        """The gateway's own card that does what the simulator's of this token does."""
        return token

    def asking_card(self) -> str:
        """A card whose owner has to confirm the charge."""
        return "tok_3ds"

    def decide(self, result: GatewayResult, is_approved: bool):
        """The card's owner approves or refuses the charge, of the key `one`, on the page of its result."""
        page = f"http://{ports.HOST}:{self.server.port}{urlsplit(result.action_url).path}"
        fields = {"decision": "approve" if is_approved else "refuse"}
        POOL.request("POST", page, fields=fields, encode_multipart=False, redirect=False)

    def dispute(self, reference: str, amount: int, status: str):
        """The card's owner disputes a charge; their bank decides at once, unless the status is `open`."""
        _, made = self.server.post("/disputes", {"charge": reference, "amount": amount}, key=str(uuid4()))
        if status != "open":
            self.server.post(f"/disputes/{made['id']}/close", {"status": status})

    def fail_refund(self, reference: str):
        """The bank of the card's owner gives the refund back."""
        self.server.post(f"/refunds/{reference}/fail", {})


def on_its_page(path: str, **fields):
    """Post what a clerk, the card's owner or their bank does at the gateway itself; returns its answer."""
    reply = calls.request_json("POST", path, body=fields, key=f"page-{uuid4()}")
    assert reply.status in (200, 201)
    return reply.content


class SimulatorBut:
    """The simulator, except for the functions that a test overrides."""

    def __getattr__(self, name):
        return getattr(simulator, name)


def use(other: SimulatorBut, monkeypatch):
    """Make the shop call this gateway instead of the simulator."""
    entry = replace(gateways.GATEWAYS["simulator"], load=lambda: other)
    monkeypatch.setitem(gateways.GATEWAYS, "simulator", entry)


@contextmanager
def nobody_there(settings: LazySettings):
    """No gateway is reachable at its address, until the block ends."""
    there = settings.GATEWAY_URL
    settings.GATEWAY_URL = f"http://{ports.HOST}:{ports.free()}"
    yield
    settings.GATEWAY_URL = there
    calls.forget()
