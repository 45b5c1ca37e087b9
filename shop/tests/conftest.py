"""Fixtures of the tests of `shop`."""

import pytest

from foundation.tests.live import web
from scripts.tests.circles import boots


@pytest.fixture(params=[True, False], ids=["burst lane", "django's lane"])
def in_both_lanes(request, settings):
    """The test once with calls in the burst lane and once with all in Django's."""
    settings.BURST = request.param


# Not for the session: it would advance the sales of other packages' tests.
@pytest.fixture(scope="package")
@boots("a web server")
def live_web(django_db_setup, tmp_path_factory):
    """The address of a real web server with two worker processes; it sees what tests commit."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "metrics").mkdir()
    with web(folder, PROMETHEUS_MULTIPROC_DIR=str(folder / "metrics")) as address:
        yield address
