"""Have a saga undone, and answer for an undoing that another system doesn't confirm."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandParser

from orders.management import operators
from orders.saga import operator_actions

EPILOG = """
Before its point of no return a saga is turned round. One that is being undone already and is stuck at the
gateway goes on: you answer for it that nothing is charged there any more. `audit` tells if that is wrong.
"""


class Command(BaseCommand):
    help = "Have a saga undone. Exits 1 when it is refused."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = EPILOG
        parser.add_argument("saga_id", type=operators.parse_saga_id, metavar="ID")
        operators.add_arguments(parser)

    def handle(self, *, saga_id: UUID, reason: str, by: str, **_: Any) -> None:
        operator = operators.to_operator(by)
        self.stdout.write(
            operators.run_action(
                operator_actions.force_compensate, saga_id=saga_id, reason=reason, by=operator
            )
        )
