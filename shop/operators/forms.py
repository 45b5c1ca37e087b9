"""Forms of operators' actions: the reason, and a key with which a form that is sent twice acts once."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget
from uuid_utils.compat import uuid7

from shop import clock
from shop.events.journal import LONGEST_DETAIL
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import Answer, KeyedCall

REASON_HELP = f"Why, in {LONGEST_DETAIL} characters at most. The journal keeps it; customers don't see it."
_TOO_OLD = "This form is too old to be sent. Open the page again."
SENT_BEFORE = "This form was sent before; nothing was done again."


def reason_field(help_text: str = REASON_HELP) -> forms.CharField:
    """The field for the reason of an action."""
    widget = UnfoldAdminTextareaWidget(attrs={"rows": 2})
    return forms.CharField(max_length=LONGEST_DETAIL, widget=widget, help_text=help_text)


class FormIdField(forms.UUIDField):
    """The hidden field with the form's id, a UUIDv7 that is generated with the form.

    Refuses old forms: their effect may be recorded no more, and would happen again.
    """

    def __init__(self) -> None:
        super().__init__(initial=uuid7, widget=forms.HiddenInput)

    def validate(self, value: UUID) -> None:
        """Raise `ValidationError` for another kind of id, or one older than half the retention of keys."""
        super().validate(value)
        if value.version != 7 or _created_at_milliseconds(value) < _oldest_milliseconds():
            raise forms.ValidationError(_TOO_OLD)


class DialogForm(BaseDialogForm):
    """A dialog that shows the problems of the form as a whole and of hidden fields, as unfold's doesn't."""

    form_before_template = "operators/dialog_errors.html"

    def get_before_template_context(
        self, request: HttpRequest, object_id: int | str | None = None
    ) -> dict[str, Any]:
        hidden = [problem for field in self.hidden_fields() for problem in field.errors]
        return {"problems": [*self.non_field_errors(), *hidden]}


class ReasonForm(DialogForm):
    """A dialog that asks for the reason of an action."""

    reason = reason_field()


class KeyedReasonForm(ReasonForm):
    """The same for an action whose repeat would have a second effect."""

    form_id = FormIdField()


def keyed_call(
    request: HttpRequest,
    action: str,
    form_id: UUID,
    meaning: object,
    *,
    answer: Callable[[Any], Answer | None],
) -> KeyedCall:
    """The call of the action with this form; the same form with another `meaning` is refused."""
    return KeyedCall(
        account_id=int(str(request.user.pk)),
        key_hash=recorded_answers.key_hash(f"{action} {form_id}"),
        fingerprint=recorded_answers.key_hash(f"{action} {meaning}"),
        answer=answer,
    )


def reload(view: str, object_id: object) -> HttpResponse:
    """Have the browser load the object's page again: a dialog is only a fragment of it."""
    return HttpResponse(headers={"HX-Redirect": reverse(view, args=[object_id])})


def _created_at_milliseconds(form_id: UUID) -> int:
    """The instant in a UUIDv7, since the epoch."""
    return form_id.int >> 80


def _oldest_milliseconds() -> int:
    """The oldest instant of a form that is accepted: half of the time for which its effect is recorded."""
    seconds = settings.IDEMPOTENCY_RETENTION_SECONDS // 2
    return int((clock.now().timestamp() - seconds) * 1000)
