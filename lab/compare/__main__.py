"""`make lab`: the strategies side by side under the real load generator, and the report of it."""

import argparse
import sys
from collections.abc import Collection, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from lab import report, stage as stages
from lab.compare import cases, page
from lab.compare.cases import SCENARIOS, UNSAFE, Case
from lab.flags import is_on
from lab.stage import Stage, say
from scripts.stack import own_stack, places
from scripts.stack.instance import Instance

PRODUCTS = 100
AUDIT_SECONDS = 900
"""A whole run leaves a million rows to audit."""
Rows = Sequence[dict[str, Any]]
OF_CAMPAIGNS = {"L1", "L2"}
"""The laws whose offenders are campaigns: a product, or an order, may have the number of one."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make lab", description="Compare the strategies under load.")
    parser.add_argument("--strategies", default="", help="by comma; all where none is named")
    parser.add_argument("--scenario", default="", help=f"by comma: {', '.join(SCENARIOS)}")
    parser.add_argument("--quick", type=is_on, help="1: seconds each, and the report goes to var/lab-quick")
    parser.add_argument("--out", default="", help="another folder for the report")
    asked = parser.parse_args()
    folder = Path(asked.out or (places.state() / "lab-quick" if asked.quick else page.FOLDER))
    run_asked = partial(run, folder=folder, asked=asked)
    return own_stack.measure("make lab", "lab", run_asked)


def run(instance: Instance, *, folder: Path, asked: argparse.Namespace) -> int:
    """All of these cases, one stack after the other; the exit code. What is measured is written at once, and
    the report also where it is ended."""
    words = {"strategies": asked.strategies, "scenarios": asked.scenario}
    chosen = cases.chosen_by(is_quick=bool(asked.quick), **words)
    users, made, findings = max(case.accounts for case in chosen), None, list[str]()
    say(f"{len(chosen)} cases, {users:,} accounts")
    try:
        for settings, some in groupby(chosen, key=lambda case: case.settings):
            with own_stack.running(instance, **settings):
                # Its rows outlive a restart with other settings.
                made = made or stages.seeded(instance, users=users, products=PRODUCTS)
                findings += run_in_stack(made, list(some), folder)
    finally:
        if kept := report.read(folder / "results.json"):
            page.write(folder, kept["rows"])
    print(*(f"FINDING {finding}" for finding in findings), f"the report is {folder / 'report.md'}", sep="\n")
    return 1 if findings else 0


def run_in_stack(stage: Stage, some: Sequence[Case], folder: Path) -> list[str]:
    """The findings of these cases. The whole shop is audited after each case with steps, and in the end."""
    circumstances, rows, findings = report.circumstances(stage.instance), list[dict[str, Any]](), list[str]()
    for case in some:
        rows.append(cases.run(stage, case) | circumstances)
        say(page.line(rows[-1]))
        if not (case.is_control and rows[-1]["asked"]):
            findings += [f"{case.name}: {text}" for text in rows[-1]["findings"]]
        if rows[-1]["steps"] or case is some[-1]:
            laws = own_stack.audit(stage.instance, within_seconds=AUDIT_SECONDS)
            controls = {str(id) for (id,) in stage.rows(cases.QUERIES.controls, UNSAFE)}
            found = [f"audit after {case.name}: {text}" for text in judge(rows, laws, excepted=controls)]
            findings += found
            for row in rows:
                row["findings"] += [] if row["is_control"] else found
        # In the place of those before them, in the scenarios' order.
        known = [*report.read(folder / "results.json").get("rows", []), *rows]
        by_key = {(row["scenario"], row["strategy"], row["variant"]): row for row in known}
        kept = sorted(by_key.values(), key=lambda row: [*SCENARIOS].index(row["scenario"]))
        report.write(folder / "results.json", {"rows": kept})
    return findings


def judge(rows: Rows, laws: Rows, *, excepted: Collection[str]) -> list[str]:
    """A sentence for each law that is broken by anything but the campaigns whose ids are excepted; rows whose
    campaigns break one have it in `broken`. Of other offenders it isn't known which case they are of."""
    found = []
    for law in (law for law in laws if not law["holds"]):
        offenders, is_of_campaigns = [str(one) for one in law["offenders"]], law["law"] in OF_CAMPAIGNS
        for row in rows if is_of_campaigns else ():
            if str(row.get("campaign")) in offenders:
                row["broken"] = sorted({*row["broken"], law["law"]})
        others = [one for one in offenders if not (one in excepted and is_of_campaigns)]
        if others or not offenders:
            found.append(f"{law['law']} is broken: {', '.join(others[:5])}")
    return found


if __name__ == "__main__":
    sys.exit(main())
