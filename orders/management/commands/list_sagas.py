"""List the unfinished sagas, or only those that need an operator."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from rich.console import Console
from rich.table import Table

from orders.saga import operator_texts, status
from shop.http.json_format import dump


class Command(BaseCommand):
    help = "List the unfinished sagas with the step that each is at."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--stuck",
            action="store_true",
            help=f"only those that are {operator_texts.NEEDS_OPERATOR}",
        )
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, stuck: bool, json: bool, **_: Any) -> None:
        sagas = list(status.read_needing_operator() if stuck else status.read_unfinished())
        if json:
            self.stdout.write(dump({"sagas": sagas}).decode())
        elif sagas:
            # Wide enough for whole ids, so that they can be copied.
            table = Table("saga", "kind", "order", "state", "at", "late since", "attempts", "last error")
            for saga in sagas:
                table.add_row(
                    str(saga.saga_id),
                    saga.kind,
                    str(saga.order_id or ""),
                    saga.state,
                    operator_texts.position(saga.direction, saga.step),
                    f"{saga.late_since:%Y-%m-%d %H:%M:%S}" if saga.late_since else "",
                    str(saga.attempts),
                    saga.last_error,
                )
            Console(file=self.stdout, width=240).print(table)  # type: ignore[arg-type]
        else:
            self.stdout.write("No saga needs an operator." if stuck else "No saga is unfinished.")
