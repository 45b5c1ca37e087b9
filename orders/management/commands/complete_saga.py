"""Take the step that a saga hangs at as done, and have it go on."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandParser

from orders.management import operators
from orders.saga import operator_actions

EPILOG = """
Only for a step at another system: a charge that you saw succeeded at the gateway (--reference is its id
there), a refund that you made there by hand, an event that the data platform got otherwise. You answer for
it; `audit` tells if it is wrong.
"""


class Command(BaseCommand):
    help = "Take the step that a saga hangs at as done. Exits 1 when it is refused."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = EPILOG
        parser.add_argument("saga_id", type=operators.parse_saga_id, metavar="ID")
        parser.add_argument("--reference", default="", help="the other system's id for what was done there")
        operators.add_arguments(parser)

    def handle(self, *, saga_id: UUID, reason: str, by: str, reference: str, **_: Any) -> None:
        asked = {
            "saga_id": saga_id,
            "reason": reason,
            "by": operators.to_operator(by),
            "reference": reference,
        }
        self.stdout.write(operators.run_action(operator_actions.force_complete, **asked))
