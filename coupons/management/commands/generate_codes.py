"""Make codes ahead for a campaign's pool."""

import json as to_json
import signal
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from coupons.codes import pool
from coupons.models import Campaign
from shop.errors import FirstcomeError
from shop.management import arguments
from shop.management.progress import progress_bar

MOST_AT_ONCE = 10_000_000
# The exit status that shells report for a program that Ctrl-C ended.
INTERRUPTED = 130


class Command(BaseCommand):
    help = "Make unguessable codes for a campaign's pool, also while it issues. Every run adds codes."
    is_interrupted = False

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
        made = 0
        # A chunk that is being written is completed.
        before = signal.signal(signal.SIGINT, lambda *_: setattr(self, "is_interrupted", True))
        try:
            with progress_bar("codes", count) as show:
                while made < count and not self.is_interrupted:
                    added = pool.generate(campaign_id=campaign, count=min(count - made, pool.CHUNK)).added
                    made += added
                    show(added)
        except FirstcomeError as error:
            raise CommandError(f"{error.detail} {made:,} codes were made.") from error
        finally:
            signal.signal(signal.SIGINT, before)
        pool_of = Campaign.objects.get(pk=campaign)
        result = {"campaign": campaign, "added": made, "wanted": count, "total": pool_of.codes_added}
        self.stdout.write(to_json.dumps(result) if json else _as_text(pool_of, made, count))
        if self.is_interrupted:
            sys.exit(INTERRUPTED)


def _as_text(campaign: Campaign, made: int, wanted: int) -> str:
    lines = [
        f"{made:,} codes made for campaign {campaign.pk}; its pool has had {campaign.codes_added:,} in all."
    ]
    if made < wanted:
        lines = [f"Interrupted: {wanted - made:,} codes are missing. Run it again for those.", *lines]
    if campaign.code_source != Campaign.CodeSource.POOL:
        lines += ["The campaign generates its codes: it takes these once its code_source is pool."]
    return "\n".join(lines)
