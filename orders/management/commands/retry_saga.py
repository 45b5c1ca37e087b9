"""Retry sagas at once, with a new deadline."""

import sys
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from foundation.journal import ActorContext
from orders import selectors
from orders.management.operators import SagaCommand
from orders.saga import operator_actions


class Command(SagaCommand):
    action = operator_actions.RETRY
    help = f"{action.title}. Exits 1 if that is refused for a saga."

    def add_sagas(self, parser: CommandParser) -> None:
        parser.add_argument("saga_ids", nargs="*", type=UUID, metavar="ID")
        described = f"all sagas that are {operator_actions.NEEDS_OPERATOR}"
        parser.add_argument("--all-stuck", action="store_true", help=described)

    def handle(
        self, *, saga_ids: list[UUID], all_stuck: bool, reason: str, by: ActorContext, **_: Any
    ) -> None:
        if bool(saga_ids) == all_stuck:
            raise CommandError("Give either the ids of sagas, or --all-stuck.")
        selected = [saga.id for saga in selectors.read_needing_operator()] if all_stuck else saga_ids
        if not selected:
            self.stdout.write("No saga is stuck.")
        is_refused = False
        for saga_id in selected:
            try:
                self.stdout.write(self.act(saga_id, reason=reason, by=by))
            except CommandError as error:
                is_refused = True
                self.stderr.write(str(error))
        if is_refused:
            sys.exit(1)
