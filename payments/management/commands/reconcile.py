"""Compare our payments with the gateway's book, charge by charge."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from payments import reconciling
from payments.reconciling import Finding, Reconciliation


class Command(BaseCommand):
    help = "List where our payments and the gateway's book differ, and why. Exits 1 when something is left."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fix", action="store_true", help="refund charges that no payment accounts for")
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, fix: bool, json: bool, **_: Any) -> None:
        found = reconciling.reconcile(fix=fix)
        self.stdout.write(_as_json(found) if json else _in_words(found))
        if not found.is_clean:
            sys.exit(1)


def _in_words(found: Reconciliation) -> str:
    lines = [f"{found.checked} charges compared, {len(found.findings)} differ."]
    lines += [f"  {finding.difference}{_done(finding)}" for finding in found.findings]
    if found.unread:
        lines.append(f"  {found.unread} Is the gateway running?")
    return "\n".join(lines)


def _done(finding: Finding) -> str:
    return f": {finding.done}" if finding.done else ""


def _as_json(found: Reconciliation) -> str:
    differences = [
        {"key": one.difference.key, "cause": one.difference.cause, "done": one.done} for one in found.findings
    ]
    return json.dumps({"checked": found.checked, "differences": differences, "unread": found.unread})
