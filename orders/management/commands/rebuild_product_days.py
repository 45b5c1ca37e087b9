"""Compute what was sold and refunded of each product on each day again, from orders and refunds."""

import json as to_json
import sys
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from foundation import literals
from orders import product_days


class Command(BaseCommand):
    help = (
        "Compute the sold and refunded numbers of products' days again, from orders and refunds, the latest "
        "day first; the shop may go on. Exits 1 if a day is still wrong."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=literals.day, help="the first day, such as 2026-11-21; else all")
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, since: date | None, json: bool, **_: Any) -> None:
        done = {"days": 0, "corrected": 0, "wrong": 0}
        for day in product_days.days():
            if since and day < since:
                break
            done["days"] += 1
            if corrected := product_days.rebuild(day):
                done["corrected"] += corrected
                done["wrong"] += len(product_days.differences(day))
                if not json:
                    self.stdout.write(f"{day}: {corrected:,} rows corrected.")
        text = "{days:,} days, {corrected:,} rows corrected, {wrong:,} still wrong.".format(**done)
        self.stdout.write(to_json.dumps(done) if json else text)
        if done["wrong"]:
            sys.exit(1)
