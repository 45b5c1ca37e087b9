"""The environment of an instance: the user's word first, and the same for processes and commands."""

import re
import stat
from pathlib import Path

import pytest

from scripts.stack import SetupError, environment, places
from scripts.stack.instance import Instance
from shop.tests.case_tables import in_one_test


@pytest.fixture
def sqlite(tmp_path: Path) -> Instance:
    return Instance(home=tmp_path, port=8000, database="sqlite")


@pytest.fixture
def mariadb(tmp_path: Path) -> Instance:
    return Instance(home=tmp_path, port=8000, database="mariadb")


def test_secrets_are_made_once_and_kept_from_others(sqlite: Instance):
    first, second = (environment.compose(sqlite, {}) for _ in range(2))
    names = ("SECRET_KEY", "WEBHOOK_SECRET_SIMULATOR", "EVENT_SECRET")
    assert [first[name] for name in names] == [second[name] for name in names]
    assert len({first[name] for name in names}) == 3
    kept = sqlite.home / "secrets" / "secret-key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


@in_one_test(
    ("name", "value"),
    [
        ("ORDER_HOLD_SECONDS", "abc"),
        ("ORDER_HOLD_SECONDS", "1.5"),
        ("SWEEP_SECONDS", "1,5"),
        ("SWEEP_SECONDS", ""),
    ],
)
def test_a_setting_that_is_no_number_is_named(sqlite: Instance, name: str, value: str):
    with pytest.raises(SetupError, match=f"{name}={value} is not a "):
        environment.compose(sqlite, {name: value})


def test_every_numeric_setting_is_looked_at():
    settings = (places.PROJECT / "shop" / "settings.py").read_text()
    defaults = dict(re.findall(r"number\(\s*\"([A-Z_]+)\",\s*([\d_.]+)", settings))
    floats = {name for name, default in defaults.items() if "." in default}
    integers = defaults.keys() - floats
    assert integers and floats
    assert integers <= {*environment.INTEGERS.split(), *environment.COUNTS.split()}
    assert floats <= {*environment.NUMBERS.split()}
