"""Actions on operators' pages: a form, a confirmation that shows the effect, and one effect per form.

A form has an id, under which its effect is recorded like that of an API call with an idempotency key: a form
that is sent twice has one effect, and the second response says so. An action whose effect is known before
anything is entered has no confirmation: its form says it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any
from uuid import UUID

import orjson
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext, gettext_lazy as _
from unfold.decorators import action as unfold_action

from foundation.admin_base.classes import LIST_SECONDS, ask, refusal_text
from foundation.admin_base.display import Context, admin_page, view_of
from foundation.admin_base.forms import SENT_BEFORE, FormIdField, reason_field
from foundation.admin_base.status_words import status_word
from foundation.db.mysql.patience import statement_limit
from foundation.errors import FirstcomeError, NeedsApproval
from foundation.http import json_format
from foundation.idempotency import recorded_answers
from foundation.lazy_texts import Text

CONFIRMED = "confirmed"
KEEP = _("Go back without changes")
FormData = dict[str, Any]
"""The values of an action's form, by the names of its fields."""
MOST_SELECTED = 100
"""Rows of a list at once: all of them are listed on the page that asks for the reason."""
MOST_LINES = 200
"""Of a file, on a page: all lines of a long one took hundreds of MiB."""
WRONG_LINES_SHOWN = 5


class ActionForm(forms.Form):
    """The form of an action: its id, the fields that subclasses add, and the reason."""

    form_id = FormIdField()
    reason = reason_field(_("Recorded with your name."))

    def clean(self) -> FormData:
        data: FormData = super().clean() or {}
        return data if self.errors else self.check(data)

    def check(self, data: FormData) -> FormData:
        """The values as the action takes them; each of them is valid. Raises `ValidationError`."""
        return data

    def order_fields(self, field_order: Iterable[str] | None) -> None:
        super().order_fields(field_order or [*(name for name in self.fields if name != "reason"), "reason"])


class NewForm(ActionForm):
    """The form of something new, which needs no reason."""

    reason = reason_field(_("Optional. Recorded with your name."), is_required=False)


@dataclass(frozen=True, slots=True)
class ActionPreview:
    """What an operator reads before the effect: a question, and the values before and after.

    `carried` are values of hidden fields that say what was shown, so that `perform` can compare. `table` has
    `headers` and `rows`. `submit` names the effect on the button, where it says more than the action's own.
    """

    question: str
    facts: Sequence[tuple[str, str]] = ()
    warning: str = ""
    carried: Context = field(default_factory=dict)
    table: Context | None = None
    submit: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """One action: its texts, its form, the preview of its effect, and what `perform` does with the form.

    `perform` raises the shop's errors, which are shown above the form. `report` says what was done; it gets
    what `perform` returned, unless that is a response of its own, such as a file, or a replay. With `once`,
    the name of the action and its row, the report is recorded, so that a repeat of the form does nothing: in
    the transaction of the effect, or after it where `perform` has transactions of its own and may be
    repeated. A domain function that records its own outcome is called by `perform_keyed` instead, with the
    form as a keyed call. `then` is called once something was done, not for a replay. `rows` are listed on
    the form, with a note on each, and `sent` is sent with it. The operator returns to the page `back`, which
    is the row's for a row's button, also by the link `keep`; or is shown once what `secret` is of the
    outcome, with what to `use` it for, and what `about` says of it. A secret is in no report. The form's
    button says `submit`, or what the button says that led to it.
    """

    title: Text
    description: Text
    submit: Text = ""
    keep: Text = KEEP
    back: str = ""
    perform: Callable[[FormData], Any] = dict
    perform_keyed: Callable[[FormData, recorded_answers.KeyedCall], Any] | None = None
    then: Callable[[], object] | None = None
    secret: Callable[[Any], str] | None = None
    use: Text = ""
    about: Callable[[Any], Sequence[tuple[Text, str]]] | None = None
    report: Callable[[Any], str] = str
    once: str = ""
    is_one_transaction: bool = True
    form_class: Callable[..., ActionForm] = ActionForm
    template: str = "admin_base/form.html"
    preview: Callable[[FormData], ActionPreview] | None = None
    is_dangerous: bool = False
    initial: Context = field(default_factory=dict)
    rows: Sequence[tuple[Any, str]] = ()
    sent: Sequence[tuple[str, Any]] = ()


def require_permission(request: HttpRequest, *permissions: str) -> None:
    """Raise `PermissionDenied`, which is 403 and names them, unless the operator has all of these."""
    if missing := [name for name in permissions if not request.user.has_perm(name)]:
        raise PermissionDenied(*missing)


def calling(act: Callable[..., Any], **given: Any) -> Callable[[FormData], Any]:
    """`act`, called with these and the form's values, by the names of its fields."""

    def perform(data: FormData) -> Any:
        return act(**given, **{name: value for name, value in data.items() if name != "form_id"})

    return perform


def button(
    *, is_useful: Callable[[HttpRequest, Any], bool] | None = None, **look: Any
) -> Callable[[Callable[..., Action | HttpResponse]], Any]:
    """A button, with its page, of a method of a model's pages that returns the `Action`, or another page.

    A method for a row gets the row, which the operator must be allowed to view. The page of a row for which
    the action is not useful has no button. `look` is unfold's.
    """

    def decorate(describe: Callable[..., Action | HttpResponse]) -> Any:
        @unfold_action(**look)
        @wraps(describe)
        def view(pages: Any, request: HttpRequest, object_id: str | None = None) -> HttpResponse:
            given = []
            if object_id is not None:
                given = [pages.get_object(request, object_id)]
                if not pages.has_view_permission(request, *given):
                    raise PermissionDenied
                if given == [None]:
                    raise Http404
            described = describe(pages, request, *given)
            if not isinstance(described, Action):
                return described
            back = described.back or reverse(view_of(pages.model), args=[object_id])
            submit = described.submit or look["description"]
            return run(request, replace(described, back=back, submit=submit))

        view.is_useful = is_useful
        return view

    return decorate


def run(request: HttpRequest, action: Action) -> HttpResponse:
    """Show the form, then the confirmation, then perform the action and return to `action.back`.

    A refusal is shown above the form, whose values and id stay, so that it may be sent again.
    """
    if request.method != "POST" or "form_id" not in request.POST:
        return _render(request, action, action.template, form=action.form_class(initial=dict(action.initial)))
    form = action.form_class(request.POST, request.FILES)
    try:
        if not form.is_valid() or "edit" in request.POST:
            return _render(request, action, action.template, form=form)
        if action.preview and CONFIRMED not in request.POST:
            return _ask_to_confirm(request, action, form, action.preview(form.cleaned_data))
        done = _perform(request, action, form)
    except NeedsApproval as error:
        ask(request, error, form.cleaned_data["reason"])
        return redirect(action.back)
    except FirstcomeError as error:
        form.add_error(None, _refusal_texts(error))
        return _render(request, action, action.template, form=form, kept=error.extra.get("kept"))
    if isinstance(done, recorded_answers.Replay):
        messages.success(request, f"{SENT_BEFORE} {_recorded_report(done)}".rstrip())
        return redirect(action.back)
    if action.then:
        action.then()
    if action.secret:
        about = action.about(done) if action.about else ()
        return _render(request, action, "admin_base/shown_once.html", secret=action.secret(done), about=about)
    if isinstance(done, HttpResponse):
        return done
    messages.success(request, action.report(done))
    return redirect(action.back)


def list_action(**look: Any) -> Callable[[Callable[..., Action]], Any]:
    """An action of a list, of a method that returns the `Action` for the selected rows, which its form lists.

    `look` is Django's.
    """

    def decorate(describe: Callable[..., Action]) -> Any:
        @admin.action(**look)
        @wraps(describe)
        def view(pages: Any, request: HttpRequest, selected: "QuerySet[Any]") -> HttpResponse | None:
            # All that a filter matches may be selected: to find that these are too many may read the table.
            with statement_limit(connection, seconds=LIST_SECONDS):
                rows = list(selected.order_by("pk")[: MOST_SELECTED + 1])
            if len(rows) > MOST_SELECTED:
                too_many = gettext("Nothing was done: that is too many. Select at most %(most)s at a time.")
                messages.error(request, too_many % {"most": MOST_SELECTED})
                return None
            sent = [("action", describe.__name__), *((ACTION_CHECKBOX_NAME, row.pk) for row in rows)]
            described = describe(pages, request, rows)
            back = request.get_full_path()
            return run(request, replace(described, back=back, is_dangerous=True, sent=sent))

        return view

    return decorate


def create_once(
    request: HttpRequest, form_id: UUID, action: str, create: Callable[[], Model], *, meaning: object
) -> int:
    """Create a row once for the form, say so if it was sent before, and return the row's number.

    The same form with another `meaning` is refused. Raises what `create` raises.
    """
    data = {"form_id": form_id, "meaning": meaning}
    call = keyed_call_with_report(request, data, action=action, describe=lambda row: str(row.pk), part=action)
    outcome = recorded_answers.run_once(call, create)
    if not isinstance(outcome, recorded_answers.Replay):
        return int(outcome.pk)
    messages.info(request, SENT_BEFORE)
    return int(_recorded_report(outcome))


def _refusal_texts(error: FirstcomeError) -> list[str]:
    """What the page says of a refusal: a sentence, and one for each wrong line of a file, as far as fits."""
    wrong = [one for one in error.extra.get("errors", ()) if "line" in one]
    texts = [
        gettext("Line %(line)s: %(field)s: %(detail)s")
        % {**one, "field": status_word(one["field"] or "file")}
        if one["line"]
        else str(one["detail"])
        for one in wrong[:WRONG_LINES_SHOWN]
    ]
    if more := len(wrong[WRONG_LINES_SHOWN:]):
        texts.append(gettext("and %(count)s more") % {"count": f"{more:,}"})
    return [refusal_text(error), *texts]


def keyed_call_with_report(
    request: HttpRequest, data: FormData, *, action: str, describe: Callable[[Any], str], part: str = "form"
) -> recorded_answers.KeyedCall:
    """The form as a keyed call of the operator, which records what `describe` says in English.

    A form whose effects are several transactions has a call for each `part` of it.
    """
    values = sorted((name, str(value)) for name, value in data.items() if name != "form_id")

    def answer(outcome: Any) -> recorded_answers.Answer:
        with translation.override("en"):
            return recorded_answers.Answer(200, json_format.dump({"said": describe(outcome)}))

    return recorded_answers.KeyedCall(
        account_id=int(str(request.user.pk)),
        key_hash=recorded_answers.key_hash(f"{part} {data['form_id']}"),
        fingerprint=recorded_answers.key_hash(f"{part} {action} {values}"),
        answer=answer,
    )


def _report_secret(made: object) -> str:
    return gettext("It was shown once, and can't be shown again. If it is lost, make a new one.")


def _recorded_report(replay: recorded_answers.Replay) -> str:
    """What was said when the form was first sent."""
    return str(orjson.loads(replay.answer.body).get("said", "")) if replay.answer else ""


def _perform(request: HttpRequest, action: Action, form: ActionForm) -> Any:
    data = form.cleaned_data
    if not action.once:
        assert action.perform_keyed is None
        return action.perform(data)
    # Without what was shown: after a lost answer the form is sent again with the values of that moment.
    meant = {name: data[name] for name, field in form.fields.items() if not field.widget.is_hidden}
    meant["form_id"] = data["form_id"]
    report = _report_secret if action.secret else action.report
    call = keyed_call_with_report(request, meant, action=action.once, describe=report)
    if action.perform_keyed:
        return action.perform_keyed(data, call)
    if action.is_one_transaction:
        return recorded_answers.run_once(call, lambda: action.perform(data))
    return recorded_answers.run_repeatable(call, lambda: action.perform(data))


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
    facts = [*preview.facts, (gettext("Reason"), form.cleaned_data["reason"])]
    return _render(
        request, action, "admin_base/confirmation.html", preview=preview, facts=facts, hidden=hidden
    )


def _render(request: HttpRequest, action: Action, template: str, **context: Any) -> HttpResponse:
    # A template would call the preview.
    own = {"title": action.title, "action": action, "has_confirmation": action.preview is not None}
    return admin_page(request, template, own | context)
