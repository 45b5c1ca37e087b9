"""Forms of operators' actions: the reason, and a key with which a form that is sent twice acts once."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget
from uuid_utils.compat import uuid7

from shop.events.journal import LONGEST_DETAIL
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import Answer, KeyedCall

REASON_HELP = f"Why, in {LONGEST_DETAIL} characters at most. The journal keeps it; customers don't see it."
SENT_BEFORE = "This form was sent before; nothing was done again."


def reason_field(help_text: str = REASON_HELP) -> forms.CharField:
    """The field for the reason of an action."""
    widget = UnfoldAdminTextareaWidget(attrs={"rows": 2})
    return forms.CharField(max_length=LONGEST_DETAIL, widget=widget, help_text=help_text)


def form_id_field() -> forms.UUIDField:
    """The hidden field with the form's id, which is generated with the form."""
    return forms.UUIDField(initial=uuid7, widget=forms.HiddenInput)


class ReasonForm(BaseDialogForm):
    """A dialog that asks for the reason of an action."""

    reason = reason_field()


class KeyedReasonForm(ReasonForm):
    """The same for an action whose repeat would have a second effect."""

    form_id = form_id_field()


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
