"""Compare our payments with the gateway's book, charge by charge."""

import sys
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from foundation.http.json_format import dump
from foundation.management import arguments
from payments.models import Reconciliation
from payments.reconciliation import reconciling
from payments.reconciliation.reconciling import Fix


class Command(BaseCommand):
    help = (
        "List the differences between our payments and the gateway's book, with their causes: of all charges"
        " and payments, or of those that began in a period. Exits 1 when a difference is left."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        instant = "an instant such as 2026-11-20 or 2026-11-20T12:30:00+09:00; UTC unless it has an offset"
        parser.add_argument("--since", type=arguments.instant, help=f"leave out what began before: {instant}")
        parser.add_argument("--until", type=arguments.instant, help="leave out what began then or later")
        parser.add_argument("--fix", action="store_true", help="refund charges that no payment accounts for")
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")

    def handle(
        self, *, since: datetime | None, until: datetime | None, fix: bool, json: bool, **_: Any
    ) -> None:
        if since and until and until <= since:
            raise CommandError("--until must come after --since; nothing was compared.")
        run = reconciling.reconcile(since=since, until=until, fix=Fix.EVERYTHING if fix else Fix.NOTHING)
        shown = {
            "since": run.since_at,
            "until": run.until_at,
            "checked": run.checked,
            "found": run.differences,
            "refunded": run.refunded,
            "differences": run.findings,
            "unread": run.unread,
        }
        self.stdout.write(dump(shown).decode() if json else _in_words(run))
        if not reconciling.is_clean(run):
            sys.exit(1)


def _in_words(run: Reconciliation) -> str:
    lines = [f"{run.checked} charges compared, {run.differences} differ."]
    for one in run.findings:
        lines.append("  " + ": ".join(filter(None, (one["key"], one["cause"], one["done"]))))
    if run.differences > len(run.findings):
        lines.append(f"  ... and {run.differences - len(run.findings)} more")
    if run.unread:
        lines.append(f"  {run.unread} Is the gateway running?")
    return "\n".join(lines)
