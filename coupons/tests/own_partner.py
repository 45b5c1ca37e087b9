"""A partner simulator of the test run; its book is empty at the start of each test that uses the fixture.

A test that needs a misbehaving partner starts one: `with partner_that("--silent-rate", "1", folder=...,
settings=...)`.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from django.conf import LazySettings

from coupons.allocation.outcomes import PendingConfirmation
from coupons.issuing import STRATEGIES
from coupons.models import Coupon
from coupons.partners import confirmation
from scripts.stack import ports
from scripts.tests.circles import once_a_session
from scripts.tests.simulator import Simulator, running, serving

NAME = "convenience_store"
GOOD = ("--failure-rate", "0", "--late-rate", "0", "--silent-rate", "0", "--lost-rate", "0")


@pytest.fixture(scope="session")
@once_a_session
def partner_process(tmp_path_factory):
    """The process, which confirms everything, and the folder of its book."""
    folder = tmp_path_factory.mktemp("partner")
    with running("partner", folder, *GOOD) as simulator:
        yield simulator, folder


@pytest.fixture
def own_partner(partner_process, settings):
    """The run's partner, with an empty book, which the shop uses in this test."""
    simulator, folder = partner_process
    with closing(sqlite3.connect(folder / "book.sqlite3", timeout=10)) as book, book:
        book.execute("DELETE FROM registrations")
    settings.PARTNER_URL = address(simulator)
    return simulator


@contextmanager
def partner_that(*options: str, folder: Path, settings: LazySettings) -> Iterator[Simulator]:
    """A partner with these options, which the shop uses until the block ends."""
    before, timeout = settings.PARTNER_URL, settings.PARTNER_TIMEOUT_SECONDS
    with serving("partner", folder, *GOOD, *options) as simulator:
        settings.PARTNER_URL = address(simulator)
        yield simulator
    settings.PARTNER_URL, settings.PARTNER_TIMEOUT_SECONDS = before, timeout
    confirmation.reset()


def address(simulator) -> str:
    return f"http://{ports.HOST}:{simulator.port}"


def registered(simulator) -> list[str]:
    """The codes that the partner has registered, in order; each code is registered once."""
    status, found = simulator.get("/registrations", status="registered")
    assert status == 200
    return sorted(one["code"] for one in found["results"])


def issued() -> list[str]:
    """The codes of all coupons, in order."""
    return sorted(Coupon.objects.values_list("code", flat=True))


def slot_of(campaign, user_id: int) -> PendingConfirmation:
    """A slot that is taken, and whose partner has not been called yet."""
    outcome = STRATEGIES[campaign.strategy](campaign_id=campaign.pk, user_id=user_id)
    assert isinstance(outcome, PendingConfirmation)
    return outcome


class Killed(BaseException):
    """The crash of a process, as one thread sees it."""


def crash(*_, **_more):
    """In the place of the function before which a process is killed."""
    raise Killed
