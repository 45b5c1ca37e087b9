"""What a change touches, by imports and by the patterns of the campaigns."""

import pytest

from lab.chaos import __main__ as chaos
from lab.chaos.campaigns.catalog import CAMPAIGNS
from scripts import changes

pytestmark = pytest.mark.boots("git", in_first_circle=True)
IMPORTERS = {"a.py": {"b.py"}, "b.py": {"c.py", "d.py"}, "c.py": {"a.py", "d.py"}, "x.py": {"y.py"}}


@pytest.fixture
def changed(monkeypatch):
    """A function that has the given files be those that differ from any commit."""

    def change(*paths):
        monkeypatch.setattr(changes, "changed_paths", lambda since: frozenset(paths))

    return change


def test_a_file_is_as_far_as_the_fewest_imports_between_also_in_a_circle():
    assert changes.distances({"a.py"}, IMPORTERS) == {"a.py": 0, "b.py": 1, "c.py": 2, "d.py": 2}


def test_the_nearest_importers_come_first_and_what_is_not_reached_is_left_out(changed):
    changed("orders/pricing.py", "README.md")
    paths = ["lab/report.py", "orders/api.py", "orders/placement/decisions.py", "orders/pricing.py"]
    found = changes.nearest(paths, "HEAD~20")
    assert found == ["orders/pricing.py", "orders/placement/decisions.py", "orders/api.py"]


def test_imports_of_modules_from_packages_and_of_packages_are_seen():
    importers = changes.importers_by_path()
    assert "orders/api.py" in importers["orders/payment_calls.py"]
    assert "lab/chaos/campaigns/plans.py" in importers["lab/chaos/campaigns/run.py"]
    assert "scripts/suite.py" in importers["scripts/stack/__init__.py"]


def test_a_commit_that_the_clone_has_not_got_touches_nothing():
    changes.changed_paths.cache_clear()
    assert changes.changed_paths("0" * 40) == frozenset()
    assert changes.nearest(["orders/pricing.py"], "0" * 40) == []


def test_campaigns_that_a_change_touches_come_before_those_whose_turn_it_is(changed, monkeypatch, tmp_path):
    monkeypatch.setenv(changes.NOT_RUN, str(tmp_path / "left"))
    changed("orders/saga/batch.py", "sales/models.py")
    names = [one.name for one in chaos.with_touched([CAMPAIGNS["disk"]], "HEAD~20")]
    assert names[: chaos.MOST_TOUCHED] == ["processes", "sales", "gateway"]
    assert names[chaos.MOST_TOUCHED :] == ["disk"]
    left = (tmp_path / "left").read_text().splitlines()
    assert left == [f"touched and not run: campaign {name}" for name in ("payments", "releases", "tasks")]
    assert [one.name for one in chaos.with_touched([CAMPAIGNS["disk"]], "")] == ["disk"]


def test_every_pattern_of_a_campaign_is_of_a_file_of_the_project():
    everything = {*changes.importers_by_path()} | {
        path for paths in changes.importers_by_path().values() for path in paths
    }
    for campaign in CAMPAIGNS.values():
        for pattern in campaign.touched_by:
            assert any(changes.fnmatch(path, pattern) for path in everything), (campaign.name, pattern)
