"""Labels with many values: few are counted by themselves, fewer are exposed, and none is lost."""

import uuid
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from shop.observability import top
from shop.observability.top import BoundedCounter


@pytest.fixture
def label(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A label without a list, and without what other tests have read."""
    monkeypatch.setattr(top, "_lists", {})
    monkeypatch.setattr(top, "_last_read", {})
    yield "thing"


def new_counter(label: str) -> tuple[BoundedCounter, str]:
    """A counter with its name, which the registry has once."""
    name = f"firstcome_test_{uuid.uuid4().hex}"
    return BoundedCounter(name, "Things.", label, ["outcome"]), name


def values(name: str) -> dict[tuple[str, str], float]:
    """What is exposed of the counter: numbers by the values of both labels."""
    [family] = [top.limited(family) for family in REGISTRY.collect() if family.name == name]
    return {
        (sample.labels["thing"], sample.labels["outcome"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def test_past_the_limit_values_are_counted_together_and_known_ones_by_themselves(
    label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top, "MAX_VALUES", 3)
    counter, name = new_counter(label)
    for number in range(10):
        counter.inc(number, "issued")
    counter.inc(1, "sold_out")
    counter.inc(9, "issued")

    assert values(name) == {
        ("0", "issued"): 1,
        ("1", "issued"): 1,
        ("2", "issued"): 1,
        ("other", "issued"): 8,
        ("1", "sold_out"): 1,
    }


def test_values_that_matter_have_a_name_of_their_own_though_callers_name_every_other_one(
    label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top, "MAX_VALUES", 4)
    monkeypatch.setattr(top, "KEPT_VALUES", 2)
    name = f"firstcome_test_{uuid.uuid4().hex}"
    counter = BoundedCounter(name, "Things.", label, ["outcome"], keeps_values=True)
    for number in range(10):
        counter.inc(number, "refused")
    for number in (7, 8, 9):
        counter.keep(number)
        counter.inc(number, "refused")

    assert values(name) == {
        ("0", "refused"): 1,
        ("1", "refused"): 1,
        ("other", "refused"): 9,
        ("7", "refused"): 1,
        ("8", "refused"): 1,
    }


def test_those_that_matter_most_are_exposed_then_those_that_were_counted_most(
    label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top, "EXPOSED", 3)
    counter, name = new_counter(label)
    for number in range(6):
        counter.inc(number, "issued", amount=1 + number)
    assert set(values(name)) == {("5", "issued"), ("4", "issued"), ("3", "issued")}

    top.register(label, read=lambda: [0, 99, 1])
    assert set(values(name)) == {("0", "issued"), ("1", "issued"), ("5", "issued")}
