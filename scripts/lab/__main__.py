"""`make lab`: the strategies side by side under the real load generator, and the report of it.

Boots MariaDB stacks of its own on free ports, seeds one shop, runs every case that was asked for, checks
its rows, audits the whole, and writes the report. It fails when anything but the control breaks a law.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console

from scripts import children, circumstances, machine, places, ports, stack
from scripts import instance as instances
from scripts.instance import Instance
from scripts.lab import (
    audits,
    offers,
    progress,
    report,
    results,
    running,
    stage,
    strategies_page,
)
from scripts.lab.choosing import Unknown, cases
from scripts.lab.scenarios import SCENARIOS, UNSAFE, Case
from scripts.lab.stage import Stage
from scripts.setup_error import SetupError

REPORT = places.PROJECT / "docs" / "lab"
SEEDED_A_SECOND = 4_000


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
    home = None
    try:
        chosen = cases(offers.ask(), strategies=asked.strategies, scenarios=asked.scenario, is_quick=is_quick)
        # Beside the other state, on a real disk: /tmp may be memory, where a commit costs nothing.
        home = Path(tempfile.mkdtemp(prefix="lab-", dir=places.private_folder(places.state())))
        instance = instances.choose(home=home, port=str(ports.free(instances.PORTS)), database="mariadb")
        return Lab(instance, folder, Console(stderr=True)).run(chosen)
    except Unknown as error:
        print(f"make lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"make lab: ended; what was measured is in {folder}", file=sys.stderr)
        return 130
    except (SetupError, OSError) as error:
        logs = stack.ends_of_logs(home) if home else ""
        print(f"make lab: failed: {error}\n{logs}", file=sys.stderr, flush=True)
        return 1
    finally:
        if home:
            shutil.rmtree(home, ignore_errors=True)


class Lab:
    """One run of the lab: its stack, where its report goes, and what it found so far."""

    def __init__(self, instance: Instance, folder: Path, console: Console) -> None:
        self.instance = instance
        self.folder = folder
        self.console = console
        self.stage: Stage | None = None
        self.findings: list[str] = []
        self.load_before = machine.load_average()

    def run(self, chosen: Sequence[Case]) -> int:
        """All of these cases, one stack after the other; the exit code."""
        accounts = max(case.load.accounts for case in chosen)
        minutes = (progress.estimate_seconds(chosen) + accounts / SEEDED_A_SECOND) / 60
        self._say(f"{len(chosen)} cases, {accounts:,} accounts, about {minutes:.0f} minutes")
        try:
            with progress.shown(chosen, self.console) as begin:
                for settings, some in groupby(chosen, key=lambda case: dict(case.settings)):
                    with stack.running(self.instance, **settings):
                        self.run_in_stack(list(some), accounts, begin)
        finally:
            self.write_report()
        for finding in self.findings:
            self._say(f"FINDING {finding}")
        self._say(f"the report is {self.folder / 'report.html'}")
        return 1 if self.findings else 0

    def run_in_stack(self, some: Sequence[Case], accounts: int, begin: progress.Begin) -> None:
        """These cases in the stack that is running; the first time it is seeded with so many accounts."""
        if self.stage is None:
            self._say(f"seeding {accounts:,} accounts …")
            self.stage = stage.seeded(self.instance, accounts)
        told = circumstances.of(self.instance, load_before=self.load_before)
        rows: list[results.Row] = []
        audited = False
        for case in some:
            if case.is_control and not audited:
                self._audit("before the control", rows)
                audited = True
            rows.append(running.run(self.stage, case, tick=begin(case)) | told)
            self._keep(rows[-1], case)
        self._audit(f"after {some[-1].name}", rows)

    def _keep(self, row: results.Row, case: Case) -> None:
        """Write the row down at once, so that whatever comes next can't take it away."""
        self._write(row)
        self._say(report.line(row))
        self.findings += [f"{case.name}: {text}" for text in findings(row)]

    def _write(self, row: results.Row) -> None:
        results.write(self.folder, results.merged(results.read(self.folder), row, order=list(SCENARIOS)))

    def _audit(self, when: str, rows: Sequence[results.Row]) -> None:
        """The whole shop, the control's campaigns apart; what those broke is said, for it is their point.

        Which case has broken anything else nobody knows, so each of these rows tells of it.
        """
        forgiven = audits.controls(self.instance, UNSAFE)
        told = audits.laws(self.instance)
        broken = audits.broken(told, forgiven=forgiven)
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
            strategies_page.write(rows)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def findings(row: results.Row) -> Iterator[str]:
    """What is wrong with a row that isn't the control's."""
    if row["is_control"]:
        return
    for law in row["broken"]:
        yield f"{law} is broken: {row['wrong']}"
    yield from row["findings"]


if __name__ == "__main__":
    sys.exit(main())
