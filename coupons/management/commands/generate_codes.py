"""Make codes ahead for a campaign's pool."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from coupons import pool
from coupons.models import Campaign
from shop.errors import FirstcomeError
from shop.management import arguments
from shop.management.progress import progress_bar

MOST_AT_ONCE = 10_000_000
# The exit status that shells report for a program that Ctrl-C ended.
INTERRUPTED = 130


class Command(BaseCommand):
    help = "Make unguessable codes for a campaign's pool, also while it issues. Every run adds codes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "campaign", type=arguments.whole_number, metavar="CAMPAIGN", help="the campaign's id"
        )
        parser.add_argument(
            "count", type=arguments.whole_number, metavar="COUNT", help=f"how many: 1 to {MOST_AT_ONCE:,}"
        )
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, campaign: int, count: int, json: bool, **_: Any) -> None:
        if not 1 <= count <= MOST_AT_ONCE:
            raise CommandError(f"{count} codes can't be made: give a number from 1 to {MOST_AT_ONCE:,}.")
        made: list[int] = []
        is_interrupted = False
        try:
            with _ended_by_interrupt() as end_if_interrupted, progress_bar("codes", count) as show:

                def progress(number: int) -> None:
                    made.append(number)
                    show(number)
                    end_if_interrupted()

                pool.generate(campaign_id=campaign, count=count, progress=progress)
        except KeyboardInterrupt:
            is_interrupted = True
        except FirstcomeError as error:
            raise CommandError(f"{error.detail} {sum(made):,} codes were made.") from error
        pool_of = Campaign.objects.get(pk=campaign)
        format_output = _as_json if json else _as_text
        self.stdout.write(format_output(pool_of, sum(made), count))
        if is_interrupted:
            sys.exit(INTERRUPTED)


@contextmanager
def _ended_by_interrupt() -> Iterator[Callable[[], None]]:
    """Ctrl-C ends the work at the next call of the yielded function; a second Ctrl-C ends it at once."""
    is_requested = False

    def on_interrupt(*_: Any) -> None:
        nonlocal is_requested
        if is_requested:
            raise KeyboardInterrupt
        is_requested = True

    def end_if_interrupted() -> None:
        if is_requested:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield end_if_interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _as_json(campaign: Campaign, made: int, wanted: int) -> str:
    result = {"campaign": campaign.pk, "added": made, "wanted": wanted, "total": campaign.codes_added}
    return json.dumps(result)


def _as_text(campaign: Campaign, made: int, wanted: int) -> str:
    lines = [
        f"{made:,} codes made for campaign {campaign.pk}; its pool has had {campaign.codes_added:,} in all."
    ]
    if made < wanted:
        lines = [f"Interrupted: {wanted - made:,} codes are missing. Run it again for those.", *lines]
    if campaign.code_source != Campaign.CodeSource.POOL:
        lines += ["The campaign generates its codes: it takes these once its code_source is pool."]
    return "\n".join(lines)
