"""What the commands on sagas share: the arguments of operators, and one line for what is done or refused."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orders.models import Saga
from orders.saga import operator_texts
from orders.saga.operator_texts import ActionText
from shop.approval_models import Approval
from shop.errors import FirstcomeError
from shop.events.journal import Actor, ActorContext
from shop.management import shell
from shop.normalization import normalized


class SagaCommand(BaseCommand):
    """A command that does `action` to a saga, or to those that `handle` chooses."""

    text: ActionText
    action: Callable[..., Saga | Approval]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = str(self.text.description)
        self.add_own_arguments(parser)
        parser.add_argument("--reason", type=normalized, required=True, help=str(operator_texts.REASON_HELP))
        parser.add_argument(
            "--by",
            type=_to_operator,
            default=shell.user_name(),
            help="your name, for the journal; by default the name that you are signed in by",
        )

    def add_own_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("saga_id", type=parse_saga_id, metavar="ID")

    def handle(self, *, saga_id: UUID, **options: Any) -> None:
        given = {name: options[name] for name in ("reason", "by", "reference") if name in options}
        self.stdout.write(self.run(saga_id, **given))

    def run(self, saga_id: UUID, **arguments: Any) -> str:
        """Do the action and return what happens to the saga next. Raises `CommandError` for a refusal."""
        try:
            done = type(self).action(saga_id=saga_id, **arguments)
        except FirstcomeError as error:
            raise CommandError(f"{saga_id}: {error.detail}") from None
        saga = Saga.objects.get(id=saga_id)
        return f"{saga.kind} saga {saga.id}: {operator_texts.next_action(done)}"


def _to_operator(name: str) -> ActorContext:
    if not 1 <= len(name.strip()) <= 150:
        raise ArgumentTypeError("Give your name: --by NAME, in 150 characters at most.")
    return ActorContext(actor=Actor.STAFF, name=name.strip())


def parse_saga_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a saga id: give a UUID that list_sagas shows") from None
