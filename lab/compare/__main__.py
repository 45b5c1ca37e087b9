"""`make lab`: the strategies side by side under the real load generator, and the report of it."""

import argparse
import sys
from collections.abc import Collection, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from lab import report, stage as stages
from lab.compare import cases, page, published
from lab.compare.cases import UNSAFE, Case
from lab.compare.scenarios import SCENARIOS
from lab.stage import Stage, say
from scripts import options
from scripts.stack import Json, Lines, own_stack, places
from scripts.stack.instance import Instance

PRODUCTS = 100
AUDIT_SECONDS = 900  # A whole run leaves a million rows to audit
Rows = Sequence[Json]
# The laws whose offenders are campaigns: a product, or an order, may have the number of one.
OF_CAMPAIGNS = {"L1", "L2"}
CONTROLS = "SELECT id FROM coupons_campaign WHERE strategy = %s"


def main() -> int:
    asked = options.read(
        "make lab",
        flags=["quick"],
        strategies="by comma; all where none is named",
        scenario=f"by comma: {', '.join(SCENARIOS)}; published for those of docs/asked-for.md",
        quick="1: seconds each, and the report goes to var/lab-quick",
        out="another folder for the report",
    )
    folder = Path(asked.out or (places.state() / "lab-quick" if asked.quick else page.FOLDER))
    return own_stack.measure("make lab", "lab", partial(run, folder=folder, asked=asked))


def run(instance: Instance, *, folder: Path, asked: argparse.Namespace) -> int:
    """All of these cases, one stack after the other; the exit code. What is measured is written at once, and
    the report also where it is ended."""
    chosen = cases.chosen_by(strategies=asked.strategies, scenarios=asked.scenario, is_quick=asked.quick)
    users = max(case.load.accounts for case in chosen)
    seeded = None
    findings: Lines = []
    say(f"{len(chosen)} cases, {users:,} accounts")
    try:
        for settings, some in groupby(chosen, key=lambda case: case.settings):
            with own_stack.running(instance, **settings):
                # Its rows outlive a restart with other settings.
                seeded = seeded or stages.seeded(instance, users=users, products=PRODUCTS)
                findings += run_in_stack(seeded, list(some), folder)
    finally:
        kept = report.read(folder / "results.json")
        if kept:
            page.write(folder, kept["rows"])
        if kept and folder == page.FOLDER:
            published.write(published.PAGE, kept["rows"])
    for finding in findings:
        print(f"FINDING {finding}")
    print(f"the report is {folder / 'report.md'}")
    if findings:
        return 1
    return 0


def run_in_stack(stage: Stage, some: Sequence[Case], folder: Path) -> Lines:
    """The findings of these cases. The whole shop is audited after each case with steps, and in the end."""
    circumstances = report.circumstances(stage.instance)
    rows: list[Json] = []
    findings: Lines = []
    for case in some:
        row = cases.run(stage, case) | circumstances
        rows.append(row)
        say(page.line(row))
        if not (case.is_control and row["asked"]):
            findings += [f"{case.name}: {text}" for text in row["findings"]]
        if row["steps"] or case is some[-1]:
            findings += audit(stage, case, rows)
        keep(folder / "results.json", rows)
    return findings


def audit(stage: Stage, case: Case, rows: Rows) -> Lines:
    """The findings of an audit, which become those of all rows but the control's."""
    laws = own_stack.audit(stage.instance, within_seconds=AUDIT_SECONDS)
    broken = judge(rows, laws, excepted={str(id) for (id,) in stage.rows(CONTROLS, UNSAFE)})
    findings = [f"audit after {case.name}: {text}" for text in broken]
    for row in rows:
        if not row["is_control"]:
            row["findings"] += findings
    return findings


def keep(file: Path, rows: Rows) -> None:
    """In the place of those before them, in the scenarios' order."""
    known = [*report.read(file).get("rows", []), *rows]
    by_key = {(row["scenario"], row["strategy"], row["variant"]): row for row in known}
    order = [*SCENARIOS]
    report.write(file, {"rows": sorted(by_key.values(), key=lambda row: order.index(row["scenario"]))})


def judge(rows: Rows, laws: Rows, *, excepted: Collection[str]) -> Lines:
    """A sentence for each law that is broken by anything but the campaigns whose ids are excepted; rows whose
    campaigns break one have it in `broken`. Of other offenders it isn't known which case they are of."""
    findings = []
    for law in laws:
        if law["holds"]:
            continue
        offenders = [str(offender) for offender in law["offenders"]]
        others = offenders
        if law["law"] in OF_CAMPAIGNS:
            others = []
            for offender in offenders:
                if offender not in excepted:
                    others.append(offender)
            for row in rows:
                if str(row.get("campaign")) in offenders:
                    row["broken"] = sorted({*row["broken"], law["law"]})
        if others or not offenders:
            findings.append(f"{law['law']} is broken: {', '.join(others[:5])}")
    return findings


if __name__ == "__main__":
    sys.exit(main())
