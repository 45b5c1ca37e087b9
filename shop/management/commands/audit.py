"""Check every law against the database, and L9 against the gateway's book."""

import json as to_json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from foundation.db.mysql.patience import long_read_timeout
from foundation.management.tables import table
from foundation.operations.audits import laws
from foundation.operations.audits.checks import LawReport

OFFENDERS_SHOWN = 10


class Command(BaseCommand):
    help = "Check every law (docs/laws.md). Exits 1, with the offending ids, when one is broken."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--json", action="store_true", help="for programs; lists up to 100 offenders of each check"
        )

    def handle(self, *, json: bool, **_: Any) -> None:
        with long_read_timeout(connection):
            reports = laws.audit()
        if json:
            self.stdout.write(to_json.dumps({"laws": [asdict(report) for report in reports]}))
        else:
            self._show(reports)
        if not all(report.holds for report in reports):
            sys.exit(1)

    def _show(self, reports: list[LawReport]) -> None:
        lines = [["law", "holds", "checked", "says"]]
        for report in reports:
            holds = "yes" if report.holds else "NO"
            lines.append([report.law, holds, f"{report.checked:,}", str(laws.LAWS[report.law])])
        self.stdout.write(table(*lines))
        broken = [report for report in reports if not report.holds]
        for report in broken:
            offenders = [f"{report.law} is broken by:", *report.offenders[:OFFENDERS_SHOWN]]
            if hidden := len(report.offenders[OFFENDERS_SHOWN:]):
                offenders.append(f"... and {hidden} more; --json lists them")
            self.stdout.write("\n  ".join(offenders))
        if not broken:
            self.stdout.write("Every law holds.")
