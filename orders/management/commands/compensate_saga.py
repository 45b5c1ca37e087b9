"""Compensate a saga, or confirm a compensation at another system that doesn't answer."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandParser

from orders.management import operators
from orders.saga import operator_actions, operator_texts


class Command(BaseCommand):
    help = f"{operator_texts.COMPENSATE.title} a saga. Exits 1 if that is refused."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = str(operator_texts.COMPENSATE.description)
        parser.add_argument("saga_id", type=operators.parse_saga_id, metavar="ID")
        operators.add_arguments(parser)

    def handle(self, *, saga_id: UUID, reason: str, by: str, **_: Any) -> None:
        operator = operators.to_operator(by)
        self.stdout.write(
            operators.run_action(
                operator_actions.force_compensate, saga_id=saga_id, reason=reason, by=operator
            )
        )
