"""Archives the coupons of a month's closed campaigns, restores them, or lists the months."""

import json as to_json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from coupons.archive import months
from coupons.archive.months import Moved
from shop.db import pacing
from shop.db.pacing import Pace
from shop.errors import FirstcomeError
from shop.management import arguments
from shop.operations.archives import calendar_months


class Command(BaseCommand):
    help = (
        "Move the expired coupons of campaigns that closed in a month to the archive, a batch at a time, "
        "while the shop sells. It may be stopped at any moment: a second run continues. Without --month it "
        "lists the months."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--month", help="of the campaigns' closing, in UTC: 2026-07")
        parser.add_argument("--restore", action="store_true", help="move the month's coupons back")
        parser.add_argument(
            "--days",
            type=arguments.whole_number,
            default=months.OLDEST_DAYS,
            help="how long campaigns have been closed and coupons expired (%(default)s)",
        )
        parser.add_argument(
            "--batch",
            type=arguments.whole_number,
            default=pacing.BATCH,
            help="coupons in a transaction (%(default)s)",
        )
        parser.add_argument(
            "--share",
            type=arguments.decimal_number,
            default=pacing.SHARE,
            help="share of the time in which batches run; rests take the others (%(default)s)",
        )
        parser.add_argument("--json", action="store_true", help="a line of JSON for each campaign or month")

    def handle(
        self,
        *,
        month: str | None,
        restore: bool,
        days: int,
        batch: int,
        share: float,
        json: bool,
        **_: Any,
    ) -> None:
        if not 1 <= batch <= 10_000 or not 0.01 <= share <= 1 or days < 1:
            raise CommandError("--batch is 1 to 10000, --share 0.01 to 1, and --days 1 or more.")
        if month is None:
            self._list(days, json)
            return
        try:
            calendar_months.first_instant(month)
        except ValueError as error:
            raise CommandError(f"--month is a year and a month, such as 2026-07, not {month}.") from error
        pace = Pace(size=batch, share=share)
        work = months.restore(month, pace=pace) if restore else months.archive(month, days=days, pace=pace)
        try:
            self._report(work, month, "restored" if restore else "archived", json)
        except FirstcomeError as error:
            raise CommandError(
                f"{error.detail} What is moved stays moved; run it again to continue."
            ) from error
        finally:
            # The session waits briefly for locks.
            connection.close() if not connection.in_atomic_block else None

    def _report(self, work: Iterator[Moved], month: str, done: str, json: bool) -> None:
        coupons = campaigns = left = 0
        for moved in work:
            campaigns, coupons, left = campaigns + 1, coupons + moved.coupons, left + bool(moved.problem)
            problem = f"; left: {moved.problem}" if moved.problem else ""
            line = f"{moved.name}: {moved.coupons:,} coupons {done}{problem}"
            self.stdout.write(to_json.dumps(asdict(moved)) if json else line)
            self.stdout.flush()
        if not json:
            self.stdout.write(f"{month}: {coupons:,} coupons of {campaigns:,} campaigns {done}.")
        if left:
            raise CommandError(f"{left:,} campaigns were left. Run it again to continue with them.")

    def _list(self, days: int, json: bool) -> None:
        found = months.overview(days=days)
        for each in found:
            counts = f"{each.campaigns:,} campaigns, {each.archived:,} archived, {each.coupons:,} coupons"
            self.stdout.write(to_json.dumps(asdict(each)) if json else f"{each.month}: {counts}")
        if not found and not json:
            self.stdout.write(f"No campaign with coupons to archive has been closed for {days} days.")
