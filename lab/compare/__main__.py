"""`make lab`: the strategies side by side under the real load generator, and the report of it."""

import argparse
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from lab.bench import stage
from lab.bench.stage import Staff
from lab.compare import report, results, running, scenarios
from lab.compare.results import Row
from lab.compare.scenarios import SCENARIOS, UNSAFE, Case
from scripts.stack import SetupError, children, database, own_stack, places
from scripts.stack.instance import Instance

SEEDED_A_SECOND, ISSUED_A_SECOND = 4_000, 700
PRODUCTS, STOCK = 100, 10_000_000
AUDIT_SECONDS = 900
"""A whole run leaves a million rows to audit."""
PER_CASE_SECONDS, STACK_SECONDS = 4, 20
"""For a campaign, k6's start and the check of its rows; for a restart with other settings, and an audit."""
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
    folder = Path(asked.out or (places.state() / "lab-quick" if is_quick else report.FOLDER))
    try:
        offer = scenarios.read_offer()
        words = {"strategies": asked.strategies, "scenarios": asked.scenario}
        chosen = scenarios.cases(offer, is_quick=is_quick, **words)
    except scenarios.Unknown as error:
        print(f"make lab: {error}", file=sys.stderr)
        return 2
    except SetupError as error:
        print(f"make lab: failed: {error}", file=sys.stderr)
        return 1
    code = own_stack.measure("make lab", "lab", lambda instance: Lab(instance, folder).run(chosen))
    if code == 130:
        print(f"make lab: ended; what was measured is in {folder}", file=sys.stderr)
    return code


class Lab:
    """One run of the lab: its stack, the folder of its report, and its findings so far."""

    def __init__(self, instance: Instance, folder: Path) -> None:
        self.instance = instance
        self.folder = folder
        self.staff: Staff | None = None
        self.findings: list[str] = []
        self.load_before = os.getloadavg()[0]

    def run(self, chosen: Sequence[Case]) -> int:
        """All of these cases, one stack after the other; the exit code."""
        accounts = max(case.load.accounts for case in chosen)
        restarts = 1 + len({tuple(case.settings.items()) for case in chosen})
        seconds = sum(map(expected_seconds, chosen)) + restarts * STACK_SECONDS
        minutes = (seconds + accounts / SEEDED_A_SECOND) / 60
        self._say(f"{len(chosen)} cases, {accounts:,} accounts, about {minutes:.0f} minutes")
        try:
            for settings, some in groupby(chosen, key=lambda case: dict(case.settings)):
                with own_stack.running(self.instance, **settings):
                    self.run_in_stack(list(some), accounts)
        finally:
            self.write_report()
        for finding in self.findings:
            self._say(f"FINDING {finding}")
        self._say(f"the report is {self.folder / 'report.html'}")
        return 1 if self.findings else 0

    def run_in_stack(self, some: Sequence[Case], accounts: int) -> None:
        """These cases in the stack that is running; the first time it is seeded with so many accounts."""
        if self.staff is None:
            self._say(f"seeding {accounts:,} accounts …")
            self.staff = seeded(self.instance, accounts)
        circumstances = stage.circumstances(self.instance, load_before=self.load_before)
        rows: list[Row] = []
        audited = False
        for case in some:
            if case.is_control and not audited:
                self._audit("before the control", rows)
                audited = True
            rows.append(running.run(self.staff, case) | circumstances)
            self._write(rows[-1])  # at once, so that no later error loses it
            self._say(report.line(rows[-1]))
            self.findings += [f"{case.name}: {text}" for text in findings(rows[-1])]
            if case.load.is_ramp or case is some[-1]:
                self._audit(f"after {case.name}", rows)

    def _write(self, row: Row) -> None:
        results.write(self.folder, results.merged(results.read(self.folder), row, order=list(SCENARIOS)))

    def _audit(self, when: str, rows: Sequence[Row]) -> None:
        """The whole shop. Laws that the control's campaigns alone broke are printed and no finding.

        Which case has broken another law isn't known, so each of these rows has the finding.
        """
        controls = {str(id) for (id,) in database.rows(self.instance, CONTROLS, UNSAFE)}
        laws = own_stack.audit(self.instance, within_seconds=AUDIT_SECONDS)
        broken = broken_laws(laws, excepted=controls)
        found = [f"audit {when}: {text}" for text in broken.values()]
        self.findings += found
        for row in rows:
            if found and not row["is_control"]:
                row["findings"] += found
                self._write(row)
        by_control = [law["law"] for law in laws if not law["holds"] and law["law"] not in broken]
        remarks = [f"{', '.join(by_control)} broken by the control alone"] if by_control else []
        self._say("; ".join([f"audit {when}: {len(laws)} laws checked", *broken.values(), *remarks]))

    def write_report(self) -> None:
        """From every row there is."""
        if rows := results.read(self.folder):
            report.write(self.folder, rows)

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def expected_seconds(case: Case) -> int:
    seconds = case.load.seconds + PER_CASE_SECONDS
    if case.load.is_ramp:
        return seconds + PER_CASE_SECONDS * len(case.load.vus)
    return seconds + case.load.accounts // ISSUED_A_SECOND * (case.scenario.sort == "orders")


def seeded(instance: Instance, accounts: int) -> Staff:
    """Seed the running stack; its rows outlive a restart with other settings. Raises SetupError."""
    return stage.seed(instance, users=accounts, products=PRODUCTS, stock=STOCK)


def findings(row: Row) -> Iterator[str]:
    """What is wrong with a row that isn't the control's."""
    if not row["is_control"]:
        yield from (f"{law} is broken: {row['wrong']}" for law in row["broken"])
        yield from row["findings"]


def broken_laws(laws: list[dict[str, Any]], *, excepted: Collection[str]) -> dict[str, str]:
    """A sentence for each law that is broken by anything but the campaigns whose ids are excepted."""
    broken: dict[str, str] = {}
    for law in laws:
        others = excepted if law["law"] in OF_CAMPAIGNS else ()
        offenders = [str(one) for one in law["offenders"] if str(one) not in others]
        if not law["holds"] and (offenders or not law["offenders"]):
            broken[law["law"]] = f"{law['law']} is broken: {', '.join(offenders[:5])}"
    return broken


if __name__ == "__main__":
    sys.exit(main())
