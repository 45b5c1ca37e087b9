"""Retry sagas at once, with a new deadline."""

import sys
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orders.management import operators
from orders.saga import operator_actions, operator_texts, status


class Command(BaseCommand):
    help = f"{operator_texts.RETRY.title}. Exits 1 if that is refused for a saga."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = str(operator_texts.RETRY.description)
        parser.add_argument("saga_ids", nargs="*", type=operators.parse_saga_id, metavar="ID")
        parser.add_argument(
            "--all-stuck",
            action="store_true",
            help=f"all sagas that are {operator_texts.NEEDS_OPERATOR}",
        )
        operators.add_arguments(parser)

    def handle(self, *, saga_ids: list[UUID], all_stuck: bool, reason: str, by: str, **_: Any) -> None:
        if bool(saga_ids) == all_stuck:
            raise CommandError("Give either the ids of sagas, or --all-stuck.")
        selected = [saga.saga_id for saga in status.read_needing_operator()] if all_stuck else saga_ids
        if not selected:
            self.stdout.write("No saga is stuck.")
        is_refused, operator = False, operators.to_operator(by)
        for saga_id in selected:
            try:
                report = operators.run_action(
                    operator_actions.retry, saga_id=saga_id, reason=reason, by=operator
                )
                self.stdout.write(report)
            except CommandError as error:
                is_refused = True
                self.stderr.write(str(error))
        if is_refused:
            sys.exit(1)
