"""docs/bench.json: what the last run of each size measured, on which machine, in which versions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts import places
from scripts.bench import table
from scripts.bench.measured import Measured
from scripts.bench.rows import ROWS
from scripts.bench.sizes import Size
from scripts.setup_error import SetupError

FILE = places.PROJECT / "docs" / "bench.json"
AGAINST_FILE = places.PROJECT / "docs" / "bench-against.json"
Report = dict[str, Any]


def report(size: Size, measured: Sequence[Measured], told: Mapping[str, Any]) -> Report:
    """All of a run as JSON has it; `told` are its circumstances, and the steps that become plots."""
    return {
        "measured_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        **told,
        "size": asdict(size),
        "rows": rows(measured),
    }


def rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """Each row as JSON has it, in the rows' own order."""
    order = list(ROWS)
    return [_row(one) for one in sorted(measured, key=lambda one: order.index(one.row))]


def read(file: Path = FILE) -> dict[str, Report]:
    """The last report of each size, `full` and `quick`. Raises SetupError when the file is no such thing."""
    if not file.exists():
        return {}
    try:
        found: dict[str, Report] = json.loads(file.read_text())
        return {name: found[name] for name in found if found[name]["rows"]}
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{file} can't be read ({error!r}): mend it, or remove it") from error


def write(one: Report, *, file: Path = FILE) -> None:
    """Put the report in the place of the one before it of the same size."""
    file.parent.mkdir(parents=True, exist_ok=True)
    reports = read(file) | {one["size"]["name"]: one}
    places.write_whole(file, json.dumps(reports, indent=1, ensure_ascii=False) + "\n")


def _row(one: Measured) -> dict[str, Any]:
    return {
        "row": one.row,
        "name": ROWS[one.row].name,
        "figures": {name: round(number, 3) for name, number in one.figures.items()},
        "spread": {name: [round(bound, 3) for bound in bounds] for name, bounds in one.spread.items()},
        "goals": table.judged(one.row, one.figures),
        "findings": list(one.findings),
        "says": one.says,
    }
