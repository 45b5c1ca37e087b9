"""Actions on operators' pages: a form, a confirmation that shows the effect, and one effect per form.

A form has an id, under which its effect is recorded like that of an API call with an idempotency key: a form
that is sent twice has one effect, and the second response says so. An action whose effect is known before
anything is entered has no confirmation: its form says it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import translation
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from shop.admin_site import refusal_text
from shop.db import transactions
from shop.errors import FirstcomeError, KeyReused
from shop.http import json_format
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import Answer, KeyedCall, Replay
from shop.lazy_texts import Text
from shop.operators import forms as operator_forms
from shop.operators.forms import SENT_BEFORE, KeyedForm, ReasonForm, reason_field

SENT_WITH_OTHER_VALUES = _(
    "This form was sent before, with other values, and that was done. Open the page again to do more."
)
CONFIRMED = "confirmed"
MOST_LINES = 200
"""Of a file, on a page: all lines of a long one took hundreds of MiB."""


class ActionForm(ReasonForm, KeyedForm):
    """The form of an action that has a page of its own: its id and the reason. Subclasses add fields."""

    reason = reason_field(_("Kept in the journal with your name."))


@dataclass(frozen=True, slots=True)
class ActionPreview:
    """What an operator reads before the effect: a question, and the values before and after.

    `carried` are values of hidden fields that say what was shown, so that `perform` can compare. `table` has
    `headers` and `rows`.
    """

    question: str
    facts: Sequence[tuple[str, str]] = ()
    warning: str = ""
    carried: Mapping[str, Any] = field(default_factory=dict)
    table: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """One action: its texts, its form, the preview of its effect, and what `perform` does and then reports.

    `perform` raises the shop's errors, which are shown above the form. `back` is the page that the operator
    returns to, unless `perform` returns a response of its own, such as a file.
    """

    title: Text
    description: Text
    submit: Text
    perform: Callable[[dict[str, Any]], str | HttpResponse]
    back: str
    form_class: Callable[..., ActionForm] = ActionForm
    preview: Callable[[dict[str, Any]], ActionPreview] | None = None
    is_dangerous: bool = False
    initial: Mapping[str, Any] = field(default_factory=dict)


def require_permission(request: HttpRequest, *permissions: str) -> None:
    """Raise `PermissionDenied`, which is 403 and names them, unless the operator has all of these."""
    if missing := [name for name in permissions if not request.user.has_perm(name)]:
        raise PermissionDenied(*missing)


def run(request: HttpRequest, action: Action) -> HttpResponse:
    """Show the form, then the confirmation, then perform the action and return to `action.back`.

    A refusal is shown above the form, whose values and id stay, so that it may be sent again.
    """
    if request.method != "POST":
        return _render(request, action, "form", form=action.form_class(initial=dict(action.initial)))
    form = action.form_class(request.POST, request.FILES)
    try:
        if not form.is_valid() or "edit" in request.POST:
            return _render(request, action, "form", form=form)
        if action.preview and CONFIRMED not in request.POST:
            return _ask_to_confirm(request, action, form, action.preview(form.cleaned_data))
        done = action.perform(form.cleaned_data)
    except FirstcomeError as error:
        for text in refusal_texts(error):
            form.add_error(None, text)
        return _render(request, action, "form", form=form)
    if isinstance(done, HttpResponse):
        return done
    messages.success(request, done)
    return redirect(action.back)


def refusal_texts(error: FirstcomeError) -> list[str]:
    """What the page says of a refusal: a sentence, and one for each wrong line of a file, as far as fits."""
    if isinstance(error, KeyReused):
        return [str(SENT_WITH_OTHER_VALUES)]
    wrong = [one for one in error.extra.get("errors", ()) if "line" in one]
    texts = [
        gettext("Line %(line)s: %(field)s: %(detail)s") % {**one, "field": one["field"] or "file"}
        if one["line"]
        else str(one["detail"])
        for one in wrong[:MOST_LINES]
    ]
    if len(wrong) > MOST_LINES:
        texts.append(gettext("%(count)s more lines are wrong.") % {"count": len(wrong) - MOST_LINES})
    return [refusal_text(error), *texts]


def keyed_call_with_report(
    request: HttpRequest,
    data: Mapping[str, Any],
    *,
    action: str,
    describe: Callable[[Any], str],
    part: str = "form",
) -> KeyedCall:
    """The form as a keyed call of the operator, which records what `describe` says in English.

    A form whose effects are several transactions has a call for each `part` of it.
    """
    values = sorted((name, str(value)) for name, value in data.items() if name != "form_id")
    return operator_forms.keyed_call(
        request,
        part,
        data["form_id"],
        f"{action} {values}",
        answer=lambda outcome: Answer(200, json_format.dump({"said": in_english(describe, outcome)})),
    )


def in_english(describe: Callable[[Any], str], outcome: Any) -> str:
    """What `describe` says of the outcome, to be stored: stored texts are English."""
    with translation.override("en"):
        return describe(outcome)


def report_text(outcome: Any, describe: Callable[[Any], str]) -> str:
    """The text for the operator: what was done now, or what was done when the form was first sent."""
    if not isinstance(outcome, Replay):
        return describe(outcome)
    said = orjson.loads(outcome.answer.body)["said"] if outcome.answer else ""
    return f"{SENT_BEFORE} {said}".rstrip()


def perform_once(
    request: HttpRequest,
    data: Mapping[str, Any],
    work: Callable[[], Any],
    *,
    action: str,
    describe: Callable[[Any], str],
    part: str = "form",
) -> str:
    """Do `work`, which only writes to the database, once for the form; returns the text for the operator."""
    call = keyed_call_with_report(request, data, action=action, describe=describe, part=part)
    return report_text(recorded_answers.run_once(call, work), describe)


def perform_repeatably(
    request: HttpRequest,
    data: Mapping[str, Any],
    work: Callable[[], Any],
    *,
    action: str,
    describe: Callable[[Any], str],
) -> str:
    """Do `work`, which has transactions of its own and may be repeated; record its report for the form."""
    call = keyed_call_with_report(request, data, action=action, describe=describe)
    known = transactions.read(lambda: recorded_answers.find(call))
    if known:
        return report_text(known, describe)
    done = work()
    return report_text(recorded_answers.run_once(call, lambda: done), describe)


def _ask_to_confirm(
    request: HttpRequest, action: Action, form: ActionForm, preview: ActionPreview
) -> HttpResponse:
    # A file is kept, and not sent again.
    sent = [name for name, one in form.fields.items() if not one.widget.needs_multipart_form]
    values = {name: form[name].value() for name in sent} | dict(preview.carried)
    # A field with several values is sent several times.
    hidden = [
        (name, "" if one is None else one)
        for name, value in values.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    return _render(request, action, "confirmation", preview=preview, hidden=hidden)


def _render(request: HttpRequest, action: Action, page: str, **context: Any) -> HttpResponse:
    shared = admin.site.each_context(request) | {"title": action.title, "action": action}
    return TemplateResponse(request, f"operators/{page}.html", shared | context)
