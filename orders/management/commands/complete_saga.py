"""Record the step that a saga is stuck at as done, so that the saga continues."""

from django.core.management.base import CommandParser

from orders.management.operators import SagaCommand
from orders.saga import operator_actions, operator_texts


class Command(SagaCommand):
    help = f"{operator_texts.COMPLETE.title}. Exits 1 if that is refused."
    text, action = operator_texts.COMPLETE, operator_actions.force_complete

    def add_own_arguments(self, parser: CommandParser) -> None:
        super().add_own_arguments(parser)
        parser.add_argument("--reference", default="", help=str(operator_texts.REFERENCE_HELP))
