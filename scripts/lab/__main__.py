"""`make lab`: the strategies side by side under the real load generator, and the report of it.

Boots MariaDB stacks of its own on free ports, seeds one shop, runs every case that was asked for, checks
its rows, audits the whole, and writes the report. It fails when anything but the control breaks a law.
"""

import argparse
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console

from scripts.bench import stage
from scripts.bench.stage import Staff
from scripts.lab import choosing, progress, report, results, running
from scripts.lab.scenarios import SCENARIOS, UNSAFE, Case
from scripts.stack import SetupError, children, database, own_stack, places
from scripts.stack.instance import Instance

REPORT = places.PROJECT / "docs" / "lab"
SEEDED_A_SECOND = 4_000
PRODUCTS, STOCK = 100, 10_000_000
AUDIT_SECONDS = 900
"""A whole run leaves a million rows to look at."""
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
    children.hear_stop_signals()
    is_quick = asked.quick in {"1", "yes", "true"}
    folder = Path(asked.out) if asked.out else places.state() / "lab-quick" if is_quick else REPORT
    try:
        offer = choosing.read_offer()
        words = {"strategies": asked.strategies, "scenarios": asked.scenario}
        chosen = choosing.cases(offer, is_quick=is_quick, **words)
    except choosing.Unknown as error:
        print(f"make lab: {error}", file=sys.stderr)
        return 2
    except SetupError as error:
        print(f"make lab: failed: {error}", file=sys.stderr)
        return 1

    def run(instance: Instance) -> int:
        return Lab(instance, folder, Console(stderr=True)).run(chosen)

    code = own_stack.measure("make lab", "lab", run)
    if code == 130:
        print(f"make lab: ended; what was measured is in {folder}", file=sys.stderr)
    return code


class Lab:
    """One run of the lab: its stack, where its report goes, and what it found so far."""

    def __init__(self, instance: Instance, folder: Path, console: Console) -> None:
        self.instance = instance
        self.folder = folder
        self.console = console
        self.staff: Staff | None = None
        self.findings: list[str] = []
        self.load_before = os.getloadavg()[0]

    def run(self, chosen: Sequence[Case]) -> int:
        """All of these cases, one stack after the other; the exit code."""
        accounts = max(case.load.accounts for case in chosen)
        minutes = (progress.estimate_seconds(chosen) + accounts / SEEDED_A_SECOND) / 60
        self._say(f"{len(chosen)} cases, {accounts:,} accounts, about {minutes:.0f} minutes")
        try:
            with progress.shown(chosen, self.console) as begin:
                for settings, some in groupby(chosen, key=lambda case: dict(case.settings)):
                    with own_stack.running(self.instance, **settings):
                        self.run_in_stack(list(some), accounts, begin)
        finally:
            self.write_report()
        for finding in self.findings:
            self._say(f"FINDING {finding}")
        self._say(f"the report is {self.folder / 'report.html'}")
        return 1 if self.findings else 0

    def run_in_stack(self, some: Sequence[Case], accounts: int, begin: progress.Begin) -> None:
        """These cases in the stack that is running; the first time it is seeded with so many accounts."""
        if self.staff is None:
            self._say(f"seeding {accounts:,} accounts …")
            self.staff = seeded(self.instance, accounts)
        told = stage.circumstances(self.instance, load_before=self.load_before)
        rows: list[results.Row] = []
        audited = False
        for case in some:
            if case.is_control and not audited:
                self._audit("before the control", rows)
                audited = True
            rows.append(running.run(self.staff, case, tick=begin(case)) | told)
            # At once, so that whatever comes next can't take it away.
            self._write(rows[-1])
            self._say(report.line(rows[-1]))
            self.findings += [f"{case.name}: {text}" for text in findings(rows[-1])]
        self._audit(f"after {some[-1].name}", rows)

    def _write(self, row: results.Row) -> None:
        results.write(self.folder, results.merged(results.read(self.folder), row, order=list(SCENARIOS)))

    def _audit(self, when: str, rows: Sequence[results.Row]) -> None:
        """The whole shop, the control's campaigns apart; what those broke is said, for it is their point.

        Which case has broken anything else isn't known, so each of these rows tells of it.
        """
        forgiven = {str(id) for (id,) in database.rows(self.instance, CONTROLS, UNSAFE)}
        told = own_stack.audit(self.instance, within_seconds=AUDIT_SECONDS)
        broken = broken_laws(told, forgiven=forgiven)
        found = [f"audit {when}: {text}" for text in broken.values()]
        self.findings += found
        for row in rows:
            if found and not row["is_control"]:
                row["findings"] += found
                self._write(row)
        by_control = [law["law"] for law in told if not law["holds"] and law["law"] not in broken]
        said = [f"{', '.join(by_control)} broken by the control alone"] if by_control else []
        self._say("; ".join([f"audit {when}: {len(told)} laws checked", *broken.values(), *said]))

    def write_report(self) -> None:
        """From every row there is."""
        rows = results.read(self.folder)
        if rows:
            report.write(self.folder, rows)
        if rows and self.folder == REPORT:
            report.write_strategies(rows)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def seeded(instance: Instance, accounts: int) -> Staff:
    """Seed the running stack; its rows outlive a restart with other settings. Raises SetupError."""
    return stage.seed(instance, users=accounts, products=PRODUCTS, stock=STOCK)


def findings(row: results.Row) -> Iterator[str]:
    """What is wrong with a row that isn't the control's."""
    if row["is_control"]:
        return
    for law in row["broken"]:
        yield f"{law} is broken: {row['wrong']}"
    yield from row["findings"]


def broken_laws(told: list[dict[str, Any]], *, forgiven: Collection[str]) -> dict[str, str]:
    """What is said of each law that is broken by anything but the campaigns whose ids are forgiven."""
    said: dict[str, str] = {}
    for law in told:
        pardoned = forgiven if law["law"] in OF_CAMPAIGNS else ()
        offenders = [str(one) for one in law["offenders"] if str(one) not in pardoned]
        if not law["holds"] and (offenders or not law["offenders"]):
            said[law["law"]] = f"{law['law']} is broken: {', '.join(offenders[:5])}"
    return said


if __name__ == "__main__":
    sys.exit(main())
