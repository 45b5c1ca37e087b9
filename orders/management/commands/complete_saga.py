"""Record the step that a saga is stuck at as done, so that the saga continues."""

from django.core.management.base import CommandParser

from orders.management.operators import SagaCommand
from orders.saga import operator_actions


class Command(SagaCommand):
    action = operator_actions.COMPLETE
    help = f"{action.title}. Exits 1 if that is refused."

    def add_sagas(self, parser: CommandParser) -> None:
        super().add_sagas(parser)
        parser.add_argument("--reference", default="", help=str(operator_actions.REFERENCE_HELP))
