"""A second attempt for tests that run a whole shop or a browser, which a busy machine can make fail.

A pytest plugin, named in pyproject.toml; the attempts are pytest-rerunfailures'. The run names each test that
needed the second one (RERUN): it is a defect of the test or of the product, to be looked at. No other test
has one: a race, a crash or a law that fails once is broken.
"""

from pathlib import Path

import pytest

FOLDERS = ("scripts/tests", "shop/tests/browser")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of `FOLDERS`."""
    folders = [config.rootpath / folder for folder in FOLDERS]
    for item in items:
        if any(folder in Path(item.path).parents for folder in folders):
            item.add_marker(pytest.mark.flaky(reruns=1))
