"""The row of API keys: the null call by a key of a member of the staff, between null calls by their token."""

from collections.abc import Callable
from pathlib import Path

from lab.bench.load import NULL, Measured, Run, summed_up
from lab.bench.stage import Stage
from lab.bench.workloads import beside_null, loads

ROW, SCOPE = "null_key", "coupons:write"


def measure(stage: Stage) -> Measured:
    """The rounds of null calls by a key."""
    made = stage.staff.call("POST", "/api-keys", {"name": "Bench", "scopes": [SCOPE]})
    by_token = stage.staff.write_tokens("null-token", [stage.staff.token])
    by_key = stage.staff.write_tokens("null-key", [made["secret"]])
    runs = beside_null.rounds(stage, _null(stage, ROW, by_key), _null(stage, NULL, by_token))
    [measured] = [one for one in summed_up(list(runs)) if one.row == ROW]
    return measured


def _null(stage: Stage, row: str, tokens: Path) -> Callable[[], Run]:
    """Null calls of one caller, again and again."""
    return lambda: loads.checked(row, stage.run_k6("null", CAMPAIGN=1, TOKENS=tokens, AGAIN=1))
