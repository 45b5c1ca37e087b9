"""The tests that run on every kind of database server: `pytest -m each_server`.

A pytest plugin, named in pyproject.toml. A module's name decides: races, crashes, lost commits, transactions,
idempotency and migrations, which rest on how a server locks, rolls back, commits and changes tables; and
what follows a restore, which raises its next ids.
"""

from pathlib import Path

import pytest

NAMES = (
    "races crashes lost_commits transactions claims keyed_calls open_keys recorded_answers migrate restore"
)
"""The ends of those names."""


def pytest_configure(config):
    config.addinivalue_line("markers", "each_server: runs on every kind of database server")


def pytest_collection_modifyitems(items: list[pytest.Item]):
    for item in items:
        if Path(item.path).stem.endswith(tuple(f"_{name}" for name in NAMES.split())):
            item.add_marker(pytest.mark.each_server)
