"""What the commands on sagas share: the arguments `--reason` and `--by`, and one line for a refusal."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from orders.models import Saga
from orders.saga import operator_texts
from shop.approval_models import Approval
from shop.errors import FirstcomeError
from shop.events.journal import Actor, ActorContext
from shop.management import shell
from shop.normalization import normalized


def add_arguments(parser: CommandParser) -> None:
    """Add `--reason` and `--by`, which the journal records."""
    parser.add_argument("--reason", type=normalized, required=True, help=str(operator_texts.REASON_HELP))
    parser.add_argument(
        "--by",
        default=shell.user_name(),
        help="your name, for the journal; by default the name that you are signed in by",
    )


def to_operator(name: str) -> ActorContext:
    """The journal's actor with that name. Raises `CommandError` for an empty or overlong name."""
    if not 1 <= len(name.strip()) <= 150:
        raise CommandError("Give your name: --by NAME, in 150 characters at most.")
    return ActorContext(actor=Actor.STAFF, name=name.strip())


def run_action(action: Callable[..., Saga | Approval], **arguments: Any) -> str:
    """Run the action and return what happens to the saga next. Raises `CommandError` for a refusal."""
    try:
        done = action(**arguments)
    except FirstcomeError as error:
        raise CommandError(f"{arguments['saga_id']}: {error.detail}") from None
    saga = Saga.objects.get(id=arguments["saga_id"])
    return f"{saga.kind} saga {saga.id}: {operator_texts.next_action(done)}"


def parse_saga_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a saga id: give a UUID that list_sagas shows") from None
