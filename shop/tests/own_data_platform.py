"""A data platform of the test run's own, its book empty at the start of each test that asks for it.

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
from scripts.tests.simulator import Simulator, everything, running

SECRET = "the shop's and the data platform's"
# What it refuses for good.
REFUSED = "test.refused"


@pytest.fixture(scope="session")
def data_platform_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Simulator, Path]]:
    """The process, which takes only what is signed, and the folder of its book."""
    folder = tmp_path_factory.mktemp("data_platform")
    with knowing_secret(folder, "--refuse-type", REFUSED) as simulator:
        yield simulator, folder


@contextmanager
def knowing_secret(folder: Path, *options: str) -> Iterator[Simulator]:
    """A data platform that takes what is signed with `SECRET`, whatever the run's own secret is."""
    with ExitStack() as started:
        with patch.dict(os.environ, {"EVENT_SECRET": SECRET}):
            simulator = started.enter_context(running("data_platform", folder, *options))
        yield simulator


@pytest.fixture
def own_data_platform(data_platform_process: tuple[Simulator, Path], settings: LazySettings) -> Simulator:
    """The run's own data platform, with nothing in its book, which the shop tells in this test."""
    simulator, folder = data_platform_process
    with closing(sqlite3.connect(folder / "book.sqlite3", timeout=10)) as book, book:
        book.execute("DELETE FROM events")
    use(simulator, settings)
    return simulator


def use(simulator: Simulator, settings: LazySettings) -> None:
    """From now on the shop tells this one, and signs with `SECRET`."""
    settings.DATA_PLATFORM_URL = f"http://{ports.HOST}:{simulator.port}"
    settings.EVENT_SECRET = SECRET


def heard(simulator: Simulator) -> list[str]:
    """The ids of the events that it took, in the order in which they came."""
    return [event["id"] for event in everything(simulator, "/events")]
