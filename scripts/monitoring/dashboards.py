"""`make dashboards`: Grafana's dashboards, generated from the definitions of the metrics into ops/grafana."""

import argparse
import difflib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import django

from scripts import check
from scripts.monitoring.boards import coupons, infrastructure, launch, orders, slo
from scripts.monitoring.expressions import UnknownMetric
from scripts.monitoring.panels import to_json
from scripts.stack import places

FOLDER = places.PROJECT / "ops" / "grafana" / "dashboards"
BOARDS = (launch, orders, coupons, infrastructure, slo)
MOST_LINES = 40


def generate() -> dict[str, str]:
    """The text of each file by its name. Raises UnknownMetric for what does not exist."""
    dashboards = [board.dashboard() for board in BOARDS]
    return {
        f"{one.name}.json": json.dumps(to_json(one), indent=1, ensure_ascii=False) + "\n"
        for one in dashboards
    }


def differences(files: dict[str, str], folder: Path) -> Iterator[str]:
    """The lines by which the files in the folder are not these."""
    kept = {path.name: path.read_text() for path in folder.glob("*.json")}
    for name in sorted(files.keys() | kept.keys()):
        committed, generated = kept.get(name, ""), files.get(name, "")
        yield from difflib.unified_diff(
            committed.splitlines(), generated.splitlines(), name, "the definitions", n=1, lineterm=""
        )


def write_files(files: dict[str, str], folder: Path) -> None:
    """Make the folder hold these files and no other dashboard."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.json"):
        path.unlink()
    for name, text in files.items():
        (folder / name).write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make dashboards")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    is_check = parser.parse_args().check
    os.environ.update(check.SETTINGS)
    django.setup()
    try:
        files = generate()
    except UnknownMetric as error:
        print(f"dashboards: {error}", file=sys.stderr)
        return 1
    if not is_check:
        write_files(files, FOLDER)
        return 0
    lines = list(differences(files, FOLDER))
    if lines:
        print("\n".join([*lines[:MOST_LINES], "ops/grafana is out of date: run `make dashboards`"]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
