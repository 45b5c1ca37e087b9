"""A data platform simulator of the test run's own, whose book is emptied for each test that uses it.

Import `data_platform_process` and `own_data_platform` from here.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from django.conf import LazySettings

from scripts.stack import ports
from scripts.tests.circles import once_a_session
from scripts.tests.simulator import Simulator, everything, running

SECRET = "the shop's and the data platform's"
# The event type that it refuses for good.
REFUSED = "test.refused"


@pytest.fixture(scope="session")
@once_a_session
def data_platform_process(tmp_path_factory):
    """The process, which accepts only signed requests, and the folder of its book."""
    folder = tmp_path_factory.mktemp("data_platform")
    with knowing_secret(folder, "--refuse-type", REFUSED) as simulator:
        yield simulator, folder


@contextmanager
def knowing_secret(folder: Path, *options: str) -> Iterator[Simulator]:
    """A data platform that accepts requests signed with `SECRET`, whatever the run's own secret is."""
    with ExitStack() as started:
        with patch.dict(os.environ, {"EVENT_SECRET": SECRET}):
            simulator = started.enter_context(running("data_platform", folder, *options))
        yield simulator


@pytest.fixture
def own_data_platform(data_platform_process, settings):
    """The run's own data platform with an empty book, to which the shop delivers in this test."""
    simulator, folder = data_platform_process
    with closing(sqlite3.connect(folder / "book.sqlite3", timeout=10)) as book, book:
        book.execute("DELETE FROM events")
    use(simulator, settings)
    return simulator


def use(simulator, settings: LazySettings):
    """Make the shop deliver to this simulator, and sign with `SECRET`."""
    settings.DATA_PLATFORM_URL = f"http://{ports.HOST}:{simulator.port}"
    settings.EVENT_SECRET = SECRET


def received_event_ids(simulator) -> list[str]:
    """The ids of the events that it accepted, in order of arrival."""
    return [event["id"] for event in everything(simulator, "/events")]
