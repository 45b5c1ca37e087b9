"""What the commands on sagas have in common: who runs them and why, and one line for a refusal."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from orders.models import Saga
from orders.saga import status
from shop.errors import FirstcomeError
from shop.events.journal import Actor, ActorContext
from shop.management import shell


def add_arguments(parser: CommandParser) -> None:
    """`--reason` and `--by`, which the journal keeps."""
    parser.add_argument("--reason", required=True, help="why, in 255 characters at most: it is kept")
    parser.add_argument(
        "--by", default=shell.user_name(), help="who does it; else the name you are signed in by"
    )


def to_operator(name: str) -> ActorContext:
    """The operator of that name, for the journal."""
    if not 1 <= len(name.strip()) <= 150:
        raise CommandError("Say who does it: --by NAME, in 150 characters at most.")
    return ActorContext(actor=Actor.STAFF, name=name.strip())


def run_action(work: Callable[..., Saga], **arguments: Any) -> str:
    """Do the work and say how the saga stands now. Raises `CommandError` for a refusal."""
    try:
        saga = work(**arguments)
    except FirstcomeError as error:
        raise CommandError(f"{arguments['saga_id']}: {error.detail}") from None
    return f"{saga.kind} saga {saga.id}: {status.in_words(saga)}"


def parse_saga_id(text: str) -> UUID:
    """An id from the command line."""
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no saga's id: give a UUID that list_sagas shows") from None
