"""Fixtures of the tests of `shop`."""

from collections.abc import Iterator

import pytest

from scripts.tests.circles import boots
from shop.tests import tally
from shop.tests.live import web


@pytest.fixture(scope="session")
def tally_tables(django_db_setup, django_db_blocker) -> Iterator[None]:
    """The tally's tables, which have no models."""
    with django_db_blocker.unblock():
        tally.create()
    yield
    with django_db_blocker.unblock():
        tally.drop()


@pytest.fixture
def counting(tally_tables, transactional_db) -> None:
    """An empty tally, for tests with threads."""
    tally.reset()


# Not for the session: it would advance the sales of other packages' tests.
@pytest.fixture(scope="package")
@boots("a web server")
def live_web(django_db_setup, tmp_path_factory) -> Iterator[str]:
    """The address of a real web server with two worker processes; it sees what tests commit."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "metrics").mkdir()
    with web(folder, PROMETHEUS_MULTIPROC_DIR=str(folder / "metrics")) as address:
        yield address
