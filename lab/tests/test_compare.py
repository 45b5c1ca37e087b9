"""What the lab judges, on figures that are known, and once all of it: every strategy, seconds each."""

import pytest

from lab import report, stage
from lab.compare import __main__ as command, page
from lab.compare.cases import DEFAULT_INVENTORY, UNSAFE, chosen_by, differences
from lab.compare.scenarios import QUICK
from lab.stack import database
from scripts.stack import instance as instances, own_stack, ports


def test_a_broken_law_is_noted_in_its_campaigns_rows_and_found_unless_they_are_the_controls():
    """A product, which breaks L4, happens to have the number of the control's campaign."""
    said = [("L1", ["7"]), ("L2", ["7", "8"]), ("L4", ["7"]), ("L9", [])]
    laws = [{"law": law, "holds": False, "offenders": offenders} for law, offenders in said]
    holding = {"law": "L3", "holds": True, "offenders": []}
    rows = [{"campaign": 8, "broken": []}, {"campaign": 7, "broken": []}, {"broken": []}]
    found = command.judge(rows, [*laws, holding], excepted={"7"})
    assert found == ["L2 is broken: 8", "L4 is broken: 7", "L9 is broken: "]
    assert [row["broken"] for row in rows] == [["L2"], ["L1", "L2"], []]


def test_coupons_that_are_not_those_of_the_answers_are_found():
    told = {"coupons": 5, "unsure": 0, "asked": 9}
    assert list(differences(5, 5, told, sells_out=True)) == []
    assert list(differences(5, 5, told | {"coupons": 4, "unsure": 1}, sells_out=True)) == []
    assert len(list(differences(5, 5, told | {"coupons": 6}, sells_out=True))) == 1
    assert len(list(differences(6, 5, told, sells_out=True))) == 1


@pytest.fixture(scope="module")
def cases():
    """The other strategies of stock need a stack each, and `crash` its time."""
    everything = chosen_by(strategies="", scenarios="", is_quick=True)
    return [one for one in everything if one.inventory == DEFAULT_INVENTORY and one.scenario != "crash"]


@pytest.fixture(scope="module")
def seeded(tmp_path_factory, cases):
    port = str(ports.free(instances.PORTS))
    instance = instances.choose(home=tmp_path_factory.mktemp("lab"), port=port, database="mariadb")
    with own_stack.running(instance, **cases[0].settings):
        users = max(case.load.accounts for case in cases)
        yield stage.seeded(instance, users=users, products=command.PRODUCTS)


@pytest.mark.boots("a whole shop, and k6")
@pytest.mark.parametrize(
    "scenarios",
    [{"race", "pool"}, {"orders"}, {"steps_orders"}],
    ids=lambda names: " and ".join(sorted(names)),
)
def test_every_strategy_keeps_the_laws_but_the_one_without_locks(seeded, cases, scenarios, tmp_path):
    chosen = [case for case in cases if case.scenario in scenarios]
    assert command.run_in_stack(seeded, chosen, tmp_path) == []

    rows = report.read(tmp_path / "results.json")["rows"]
    assert sorted((one["scenario"], one["strategy"], one["variant"]) for one in rows) == sorted(
        (case.scenario, case.strategy, case.variant.name) for case in chosen
    )
    page.write(tmp_path, rows)
    for one in rows:
        assert one["broken"] == (["L1"] if one["strategy"] == UNSAFE else []), one
        if one["scenario"] in {"race", "pool"} and one["strategy"] != UNSAFE:
            assert one["coupons"] == QUICK[one["scenario"]].quantity, one
        if one["scenario"] == "steps_orders":
            assert one["placed"] > 0
            assert one["paid"] == (one["placed"] if one["variant"] == "paid" else 0)
        assert f"## {one['scenario']}" in (tmp_path / "report.md").read_text()


@pytest.mark.boots("a whole shop, and k6")
def test_what_the_audit_finds_broken_is_a_finding_of_the_rows(seeded, cases, tmp_path):
    """A case that issues coupons doesn't see by itself that stock doesn't add up any more."""
    [case] = [one for one in cases if one.name == "race group_commit"]
    [(product,)] = seeded.rows("SELECT MIN(id) FROM inventory_product")
    add = "UPDATE inventory_product SET on_hand = on_hand + %s WHERE id = %s"

    database.rows(seeded.instance, add, 1, product)
    try:
        findings = command.run_in_stack(seeded, [case], tmp_path)
    finally:
        database.rows(seeded.instance, add, -1, product)

    [one] = report.read(tmp_path / "results.json")["rows"]
    assert (one["broken"], one["coupons"]) == ([], case.quantity)
    assert one["findings"] == findings == [f"audit after {case.name}: L5 is broken: {product}"]
