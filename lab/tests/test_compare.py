"""What the lab judges, on figures that are known, and once all of it: every strategy, seconds each."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.compare import results, scenarios
from lab.compare.__main__ import Lab, broken_laws, seeded
from lab.compare.scenarios import DEFAULT_INVENTORY, SCENARIOS, UNSAFE, Case
from scripts.stack import database, instance as instances, own_stack, ports


def test_the_campaigns_of_the_control_alone_may_break_laws():
    said = [("L1", ["7"]), ("L2", ["7", "8"]), ("L4", ["7"]), ("L9", [])]
    laws = [{"law": law, "holds": False, "offenders": offenders} for law, offenders in said]
    holding = {"law": "L3", "holds": True, "offenders": []}
    assert broken_laws([*laws, holding], excepted={"7"}) == {
        "L2": "L2 is broken: 8",
        "L4": "L4 is broken: 7",  # a product, which happens to have the campaign's number
        "L9": "L9 is broken: ",
    }


class Bench(NamedTuple):
    """A lab whose stack is running, and every case that there is for that stack."""

    lab: Lab
    cases: list[Case]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "home").mkdir()
    port = str(ports.free(instances.PORTS))
    instance = instances.choose(home=folder / "home", port=port, database="mariadb")
    everything = scenarios.cases(scenarios.read_offer(), strategies="", scenarios="", is_quick=True)
    # The other strategies of stock need a stack each, and `crash` its time: both have tests of their own.
    cases = [
        case
        for case in everything
        if case.settings["INVENTORY_STRATEGY"] == DEFAULT_INVENTORY and case.scenario.name != "crash"
    ]
    with own_stack.running(instance, **cases[0].settings):
        yield Bench(Lab(instance, folder / "out"), cases)


@pytest.mark.boots("a whole shop, and k6")
@pytest.mark.parametrize(
    "scenarios",
    [{"race", "pool"}, {"orders"}, {"steps_orders"}],
    ids=lambda names: " and ".join(sorted(names)),
)
def test_every_strategy_keeps_the_laws_but_the_one_without_locks(bench: Bench, scenarios: set[str]):
    chosen = [case for case in bench.cases if case.scenario.name in scenarios]
    accounts = max(case.load.accounts for case in bench.cases)
    bench.lab.findings.clear()
    bench.lab.run_in_stack(chosen, accounts)
    bench.lab.write_report()
    assert bench.lab.findings == []
    rows = [one for one in results.read(bench.lab.folder) if one["scenario"] in scenarios]
    assert Counter(map(results.key, rows)) == Counter(
        (case.scenario.name, case.strategy, case.variant) for case in chosen
    )
    for one in rows:
        assert one["broken"] == (["L1"] if one["strategy"] == UNSAFE else []), one
        if one["scenario"] in {"race", "pool"} and one["strategy"] != UNSAFE:
            assert one["coupons"] == SCENARIOS[one["scenario"]].quick.quantity, one
        if one["scenario"] == "steps_orders":
            assert one["placed"] > 0
            assert one["paid"] == (one["placed"] if one["variant"] == "paid" else 0)
            assert {"answers", "processor", "connections", "redis"} <= one["series"]["panels"].keys()
        assert f"## {one['scenario']}" in (bench.lab.folder / "report.md").read_text()


@pytest.mark.boots("a whole shop, and k6")
def test_what_the_audit_finds_broken_is_a_finding_of_the_rows(bench: Bench, tmp_path: Path):
    """A case that issues coupons doesn't see by itself that stock doesn't add up any more."""
    [case] = [one for one in bench.cases if one.name == "race group_commit"]
    accounts = max(case.load.accounts for case in bench.cases)
    own = Lab(bench.lab.instance, tmp_path)
    own.staff = bench.lab.staff = bench.lab.staff or seeded(own.instance, accounts)
    [(product,)] = database.rows(own.instance, "SELECT MIN(id) FROM inventory_product")
    add = "UPDATE inventory_product SET on_hand = on_hand + %s WHERE id = %s"

    database.rows(own.instance, add, 1, product)
    try:
        own.run_in_stack([case], accounts)
    finally:
        database.rows(own.instance, add, -1, product)

    [one] = results.read(tmp_path)
    assert (one["broken"], one["coupons"]) == ([], case.load.quantity)
    assert one["findings"] == own.findings == [f"audit after {case.name}: L5 is broken: {product}"]
