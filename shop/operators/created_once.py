"""Creates a row once for a form, however often the form is sent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from django.db.models import Model
from django.http import HttpRequest

from shop.errors import FirstcomeError, KeyReused
from shop.http import json_format
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import Answer, Replay
from shop.operators.actions import SENT_WITH_OTHER_VALUES
from shop.operators.forms import keyed_call


@dataclass(frozen=True, slots=True)
class CreatedRow:
    """The number of a row that a form has created; `is_repeat` if the form was sent before."""

    pk: int
    is_repeat: bool


def run(
    request: HttpRequest, form: Any, action: str, create: Callable[[], Model], *, meaning: object
) -> CreatedRow:
    """Create the row once for this `KeyedForm`; `action` ends with the kind of the row: "create campaign".

    The same form with another `meaning` is refused. Raises what `create` raises.
    """
    kind = action.split()[-1]
    call = keyed_call(
        request,
        action,
        form.cleaned_data["form_id"],
        meaning,
        answer=lambda row: Answer(201, json_format.dump({kind: row.pk})),
    )
    outcome = recorded_answers.run_once(call, create)
    if not isinstance(outcome, Replay):
        return CreatedRow(outcome.pk, is_repeat=False)
    recorded = orjson.loads(outcome.answer.body) if outcome.answer else {}
    return CreatedRow(recorded[kind], is_repeat=True)


def refusal_text(error: FirstcomeError) -> str:
    """What the page says of a refusal."""
    return str(SENT_WITH_OTHER_VALUES if isinstance(error, KeyReused) else error.detail)
