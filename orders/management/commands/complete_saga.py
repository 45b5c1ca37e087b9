"""Record the step that a saga is stuck at as done, so that the saga continues."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandParser

from orders.management import operators
from orders.saga import operator_actions, operator_texts


class Command(BaseCommand):
    help = f"{operator_texts.COMPLETE.title}. Exits 1 if that is refused."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = str(operator_texts.COMPLETE.description)
        parser.add_argument("saga_id", type=operators.parse_saga_id, metavar="ID")
        parser.add_argument("--reference", default="", help=str(operator_texts.REFERENCE_HELP))
        operators.add_arguments(parser)

    def handle(self, *, saga_id: UUID, reason: str, by: str, reference: str, **_: Any) -> None:
        arguments = {
            "saga_id": saga_id,
            "reason": reason,
            "by": operators.to_operator(by),
            "reference": reference,
        }
        self.stdout.write(operators.run_action(operator_actions.force_complete, **arguments))
