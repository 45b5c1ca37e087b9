"""List the unfinished sagas, or only those that need an operator."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from foundation.http.json_format import dump
from foundation.management.tables import table
from orders import selectors
from orders.saga import operator_actions

STORED = ["kind", "subject_id", "state", "direction", "attempts", "last_error"]


class Command(BaseCommand):
    help = "List the unfinished sagas with the step that each is at."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--stuck", action="store_true", help=f"only those that are {operator_actions.NEEDS_OPERATOR}"
        )
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, stuck: bool, json: bool, **_: Any) -> None:
        lines = [["saga", "kind", "order", "state", "at", "late since", "attempts", "last error"]]
        rows = []
        for saga in selectors.read_needing_operator() if stuck else selectors.read_unfinished():
            step = selectors.step_name(saga)
            late = selectors.late_since(saga)
            times = {"created_at": saga.created_at, "next_attempt_at": saga.next_attempt_at}
            shown = times | {"saga_id": saga.id, "order_id": saga.about_id, "step": step, "late_since": late}
            rows.append(shown | {name: getattr(saga, name) for name in STORED})
            order = str(saga.about_id or "")
            late_text = f"{late:%Y-%m-%d %H:%M:%S}" if late else ""
            at = operator_actions.position(saga.direction, step)
            attempts = str(saga.attempts)
            lines.append(
                [str(saga.id), saga.kind, order, saga.state, at, late_text, attempts, saga.last_error]
            )
        if json:
            self.stdout.write(dump({"sagas": rows}).decode())
        elif rows:
            self.stdout.write(table(*lines))
        else:
            self.stdout.write("No saga needs an operator." if stuck else "No saga is unfinished.")
