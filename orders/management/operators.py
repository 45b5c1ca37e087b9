"""The commands by which operators act on sagas: `--reason` and `--by`, and one line for a refusal."""

from argparse import ArgumentTypeError
from typing import Any, ClassVar
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from foundation.errors import FirstcomeError
from foundation.journal import Actor, ActorContext
from foundation.management import shell
from foundation.normalization import normalized
from orders.models import Saga
from orders.saga import operator_actions


class SagaCommand(BaseCommand):
    action: ClassVar[operator_actions.OperatorAction]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = str(self.action.description)
        self.add_sagas(parser)
        parser.add_argument(
            "--reason", type=normalized, required=True, help=str(operator_actions.REASON_HELP)
        )
        parser.add_argument(
            "--by",
            type=_operator,
            default=shell.user_name(),
            help="your name, for the journal; by default the name that you are signed in by",
        )

    def add_sagas(self, parser: CommandParser) -> None:
        parser.add_argument("saga_id", type=UUID, metavar="ID")

    def handle(self, *_: Any, **options: Any) -> None:
        given = {name: options[name] for name in ("reason", "by", "reference") if name in options}
        self.stdout.write(self.act(options["saga_id"], **given))

    def act(self, saga_id: UUID, **arguments: Any) -> str:
        """Do it, and return what happens to the saga next. Raises `CommandError` for a refusal."""
        try:
            done = self.action.act(saga_id=saga_id, **arguments)
        except FirstcomeError as error:
            raise CommandError(f"{saga_id}: {error.detail}") from None
        return f"{Saga.objects.get(id=saga_id).kind} saga {saga_id}: {operator_actions.next_action(done)}"


def _operator(name: str) -> ActorContext:
    if not 1 <= len(name.strip()) <= 150:
        raise ArgumentTypeError("Give your name: --by NAME, in 150 characters at most.")
    return ActorContext(actor=Actor.STAFF, name=name.strip())
