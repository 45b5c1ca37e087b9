"""`make lab`: the strategies side by side under the real load generator, and the report of it."""

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from lab import report, stage as stages
from lab.compare import measuring, page, scenarios
from lab.compare.scenarios import SCENARIOS, UNSAFE, Case
from lab.stack import database
from lab.stage import Stage, say
from scripts.stack import SetupError, children, own_stack, places
from scripts.stack.instance import Instance

PRODUCTS, STOCK = 100, 10_000_000
AUDIT_SECONDS = 900
"""A whole run leaves a million rows to audit."""
CONTROLS = "SELECT id FROM coupons_campaign WHERE strategy = %s"
OF_CAMPAIGNS = {"L1", "L2"}
"""The laws whose offenders are campaigns: a product, or an order, may have the number of one."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make lab", description="Compare the strategies under load.")
    parser.add_argument("--strategies", default="", help="by comma; all where none is named")
    parser.add_argument("--scenario", default="", help=f"by comma: {', '.join(SCENARIOS)}")
    parser.add_argument("--quick", default="", help="1: seconds each, and the report goes to var/lab-quick")
    parser.add_argument("--out", default="", help="another folder for the report")
    asked = parser.parse_args()
    children.handle_stop_signals()
    is_quick = asked.quick in {"1", "yes", "true"}
    folder = Path(asked.out or (places.state() / "lab-quick" if is_quick else page.FOLDER))
    words = {"strategies": asked.strategies, "scenarios": asked.scenario}
    try:
        chosen = scenarios.cases(scenarios.read_offer(), is_quick=is_quick, **words)
    except SetupError as error:
        parser.error(str(error))
    return own_stack.measure("make lab", "lab", partial(run, folder=folder, chosen=chosen))


def run(instance: Instance, *, folder: Path, chosen: Sequence[Case]) -> int:
    """All of these cases, one stack after the other; the exit code. What is measured is written at once, and
    the report also where it is ended."""
    users = max(case.load.accounts for case in chosen)
    say(f"{len(chosen)} cases, {users:,} accounts")
    made, findings = None, list[str]()
    try:
        for settings, some in groupby(chosen, key=lambda case: case.settings):
            with own_stack.running(instance, **settings):
                # Its rows outlive a restart with other settings.
                made = made or stages.seeded(instance, users=users, products=PRODUCTS, stock=STOCK)
                findings += run_in_stack(made, list(some), folder)
    finally:
        if kept := report.read(folder / "results.json"):
            page.write(folder, kept["rows"])
    for finding in findings:
        say(f"FINDING {finding}")
    say(f"the report is {folder / 'report.md'}")
    return 1 if findings else 0


def run_in_stack(stage: Stage, some: Sequence[Case], folder: Path) -> list[str]:
    """The findings of these cases. The whole shop is audited before the control, after each case with steps,
    and in the end; which case has broken a law isn't known, so each row so far has the finding."""
    circumstances, rows, findings = report.circumstances(stage.instance), list[dict[str, Any]](), list[str]()
    for index, case in enumerate(some):
        rows.append(measuring.run(stage, case) | circumstances)
        say(page.line(rows[-1]))
        if not case.is_control:
            wrong = [f"{law} is broken: {rows[-1]['wrong']}" for law in rows[-1]["broken"]]
            findings += [f"{case.name}: {text}" for text in [*wrong, *rows[-1]["findings"]]]
        following = some[index + 1] if index + 1 < len(some) else None
        if rows[-1]["steps"] or following is None or following.is_control > case.is_control:
            found = [f"audit after {case.name}: {text}" for text in audit(stage)]
            findings += found
            for row in rows:
                row["findings"] += [] if row["is_control"] else found
        _keep(folder, rows)
    return findings


def audit(stage: Stage) -> list[str]:
    """A sentence for each law that is broken by anything but the control's campaigns."""
    controls = {str(id) for (id,) in database.rows(stage.instance, CONTROLS, UNSAFE)}
    broken = broken_laws(own_stack.audit(stage.instance, within_seconds=AUDIT_SECONDS), excepted=controls)
    say(f"audited; {broken or 'all laws hold, but for the control'}")
    return broken


def broken_laws(laws: Sequence[Mapping[str, Any]], *, excepted: Collection[str]) -> list[str]:
    """A sentence for each law that is broken by anything but the campaigns whose ids are excepted."""
    broken = []
    for law in laws:
        others = excepted if law["law"] in OF_CAMPAIGNS else ()
        offenders = [str(one) for one in law["offenders"] if str(one) not in others]
        if not law["holds"] and (offenders or not law["offenders"]):
            broken.append(f"{law['law']} is broken: {', '.join(offenders[:5])}")
    return broken


def _keep(folder: Path, new: Sequence[Mapping[str, Any]]) -> None:
    """Put the rows in the place of those before them, in the scenarios' order."""
    by_key = {
        (row["scenario"], row["strategy"], row["variant"]): row
        for row in [*report.read(folder / "results.json").get("rows", []), *new]
    }
    order = [*SCENARIOS]
    rows = sorted(by_key.values(), key=lambda row: order.index(row["scenario"]))
    report.write(folder / "results.json", {"rows": rows})


if __name__ == "__main__":
    sys.exit(main())
