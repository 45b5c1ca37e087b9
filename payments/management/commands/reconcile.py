"""Compare our payments with the gateway's book, charge by charge."""

import json
import sys
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from payments import reconciling
from payments.models import Reconciliation
from payments.reconciling import Fix


class Command(BaseCommand):
    help = (
        "List where our payments and the gateway's book differ, and why: in all, or of a period, to which"
        " belong the charges and payments that began in it. Exits 1 when something is left."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        said = "an instant such as 2026-11-20 or 2026-11-20T12:30:00+09:00; UTC unless it says so"
        parser.add_argument("--since", type=_instant, help=f"leave out what began before: {said}")
        parser.add_argument("--until", type=_instant, help="leave out what began then or later")
        parser.add_argument("--fix", action="store_true", help="refund charges that no payment accounts for")
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(
        self, *, since: datetime | None, until: datetime | None, fix: bool, json: bool, **_: Any
    ) -> None:
        chosen = Fix.EVERYTHING if fix else Fix.NOTHING
        run = reconciling.reconcile(since=since, until=until, fix=chosen)
        self.stdout.write(_as_json(run) if json else _in_words(run))
        if not reconciling.is_clean(run):
            sys.exit(1)


def _instant(text: str) -> datetime:
    """argparse tells a ValueError of this."""
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _in_words(run: Reconciliation) -> str:
    lines = [f"{run.checked} charges compared, {run.differences} differ."]
    lines += [f"  {one['key']}: {one['cause']}{_done(one['done'])}" for one in run.findings]
    if run.differences > len(run.findings):
        lines.append(f"  ... and {run.differences - len(run.findings)} more")
    if run.unread:
        lines.append(f"  {run.unread} Is the gateway running?")
    return "\n".join(lines)


def _done(done: str) -> str:
    return f": {done}" if done else ""


def _as_json(run: Reconciliation) -> str:
    return json.dumps(
        {
            "since": run.since_at and run.since_at.isoformat(),
            "until": run.until_at and run.until_at.isoformat(),
            "checked": run.checked,
            "found": run.differences,
            "refunded": run.refunded,
            "differences": run.findings,
            "unread": run.unread,
        }
    )
