"""Labels with many values: few are counted by themselves, and none is lost."""

import uuid

import pytest
from prometheus_client import REGISTRY

from shop.observability import bounded_counter
from shop.observability.bounded_counter import BoundedCounter


def new_counter(**options: bool) -> tuple[BoundedCounter, str]:
    """A counter with its name, which the registry has once."""
    name = f"firstcome_test_{uuid.uuid4().hex}"
    return BoundedCounter(name, "Things.", "thing", ["outcome"], **options), name


def values(name: str) -> dict[tuple[str, str], float]:
    [family] = [family for family in REGISTRY.collect() if family.name == name]
    return {
        (sample.labels["thing"], sample.labels["outcome"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def test_past_the_limit_values_are_counted_together_and_known_ones_by_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded_counter, "MAX_VALUES", 3)
    counter, name = new_counter()
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
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded_counter, "MAX_VALUES", 4)
    monkeypatch.setattr(bounded_counter, "KEPT_VALUES", 2)
    counter, name = new_counter(keeps_values=True)
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
