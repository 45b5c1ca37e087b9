"""Gauges: read at each scrape, one for all processes, and metrics don't fail because of them."""

import re
from collections.abc import Iterator

import pytest
import urllib3
from django.db import OperationalError

from shop.observability import gauges


@pytest.fixture(autouse=True)
def _no_other_gauges(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(gauges, "_gauges", {})
        yield


def exposed() -> dict[str, float]:
    lines = gauges.exposition().decode().splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines if not line.startswith("#")}


def test_a_gauge_is_read_at_each_scrape() -> None:
    readings = iter([1.0, 2.5])
    gauges.register("firstcome_things", help="Things.", read=lambda: next(readings))

    assert exposed() == {"firstcome_things": 1.0}
    assert b"# TYPE firstcome_things gauge" in gauges.exposition()


def test_a_gauge_with_a_label_has_a_number_for_each_value() -> None:
    gauges.register("firstcome_things", help="Things.", label="kind", read=lambda: {"a": 1, "b": 0})
    gauges.register("firstcome_none", help="None.", label="kind", read=dict)

    assert exposed() == {'firstcome_things{kind="a"}': 1.0, 'firstcome_things{kind="b"}': 0.0}


def test_a_gauge_without_a_value_is_left_out() -> None:
    gauges.register("firstcome_nothing", help="Nothing.", read=lambda: None)
    gauges.register("firstcome_zero", help="Zero.", read=lambda: 0)

    assert exposed() == {"firstcome_zero": 0.0}


def test_after_a_database_error_other_database_gauges_are_skipped() -> None:
    reads = []

    def fail() -> float:
        reads.append("first")
        raise OperationalError(2002, "Can't connect")

    def succeed() -> float:
        reads.append("second")
        return 1

    gauges.register("firstcome_first", help="First.", read=fail)
    gauges.register("firstcome_second", help="Second.", read=succeed)

    assert exposed() == {}
    assert reads == ["first"]


@pytest.mark.django_db(transaction=True)
def test_several_processes_do_not_sum_gauges(live_web: str) -> None:
    """Whichever process answers, the value is the same."""
    for _ in range(10):
        text = urllib3.request("GET", f"{live_web}/metrics", retries=False).data.decode()
        assert re.findall(r"^firstcome_events_queued (\S+)$", text, re.M) == ["0.0"]
