"""The store of the board's page: its points by second, run by Node.js."""

import json
from typing import Any

import pytest

from scripts.stack import places
from scripts.tests import programs

pytestmark = [pytest.mark.boots("Node.js")]

STORE = places.PROJECT / "backoffice" / "static" / "backoffice" / "board" / "store.js"


def columns_after(script: str) -> Any:
    """What `store.columns(["left"], 900)` is after these lines of JavaScript."""
    shown = 'console.log(JSON.stringify(store.columns(["left"], 900)));'
    code = "\n".join([STORE.read_text(), "const store = new Store(15);", script, shown])
    return json.loads(programs.run(["node", "--input-type=module", "--eval", code]))


def test_a_point_replaces_that_of_its_second_and_after_the_clock_was_set_back_the_plots_go_on():
    """They stood still until the server's clock had come to the last point again."""
    assert columns_after("for (const at of [1, 2, 3, 2, 4]) store.add(at, { left: at });") == [
        [1, 2, 3, 4],
        [1, 2, 3, 4],
    ]
    assert columns_after("for (const at of [8001, 8002, 8001, 5000, 5001]) store.add(at, { left: at });") == [
        [5000, 5001],
        [5000, 5001],
    ]
