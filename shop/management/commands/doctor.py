"""Check whether this environment keeps the shop's promises, and say what to do if not."""

import json as to_json
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import Error

from accounts import doctor as accounts_doctor
from events import doctor as events_doctor
from foundation.operations.doctor import checks
from foundation.operations.doctor.findings import Finding
from inventory import doctor as inventory_doctor
from orders import doctor as orders_doctor

SHOWN = {"ok": "ok     ", "warning": "warning", "danger": "DANGER "}


class Command(BaseCommand):
    help = "Check whether this environment keeps the shop's promises. Exits 1 on a danger."
    # It must run even where nothing else works, such as before migrations.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, json: bool, **_: Any) -> None:
        asked = (checks, accounts_doctor, events_doctor, orders_doctor, inventory_doctor)
        findings: list[Finding] = []
        for one in asked:
            # A database that can't be reached has a finding of its own.
            with suppress(Error):
                findings.extend(one.examine())
        if json:
            self.stdout.write(to_json.dumps({"findings": [*map(asdict, findings)]}))
        else:
            for finding in findings:
                self._show(finding)
        if any(finding.level == "danger" for finding in findings):
            sys.exit(1)

    def _show(self, finding: Finding) -> None:
        styles = {"ok": self.style.SUCCESS, "warning": self.style.WARNING, "danger": self.style.ERROR}
        level = styles[finding.level](SHOWN[finding.level])
        self.stdout.write(f"{level}  {finding.check}: {finding.found}")
        if finding.advice:
            self.stdout.write(f"         {finding.advice}")
