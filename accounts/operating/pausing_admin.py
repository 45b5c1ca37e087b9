"""Admin pages of what domain functions create, change and pause: campaigns, products and sales.

A row's page pauses and resumes at once and takes the reason afterwards; the list's actions ask for it first.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from accounts.operating import pausing
from accounts.operating.row_checks import Check
from foundation import clock
from foundation.admin_base.actions import Action, ActionForm, button, calling, create_once, list_action
from foundation.admin_base.classes import (
    REASON,
    ListMixin,
    NonAtomicAdmin,
    ReasonedChangesMixin,
    refusal_text,
)
from foundation.admin_base.display import Context, status_label, view_of
from foundation.admin_base.forms import reason_field
from foundation.errors import FirstcomeError, Rejected
from foundation.lazy_texts import Text
from foundation.reasons import LONGEST_REASON

CHANGE = ["change"]
PAUSE_BUTTONS = ("pause", "resume", "explain")
BEFORE = ("scheduled", "awaiting_codes", "inactive")
"""Statuses in which the checks are unfolded."""
UNDO_SECONDS = 600
"""How long the button that ends a pause is called Undo."""
PAUSING = _("What is paused issues and sells nothing until you resume it.")
RESUMING = _("What is resumed issues and sells again, as far as its dates, quantity and stock allow.")


class PausingForm(ActionForm):
    """Why it is paused or resumed."""

    reason = reason_field(_("Recorded with your name."), max_length=LONGEST_REASON)


class Template(NamedTuple):
    """Terms that the page of a new row is filled with; operators change them before they save."""

    title: Text
    description: Text
    terms: Callable[[], Mapping[str, Any]]


def tomorrow_at_ten() -> datetime:
    """Ten o'clock of the shop's next day."""
    return clock.day_bounds(clock.today())[1] + timedelta(hours=10)


def _is_paused(request: HttpRequest, row: Any) -> bool:
    return row.paused_at is not None


class PausableAdmin(ReasonedChangesMixin, ListMixin, ModelAdmin, NonAtomicAdmin):
    """Rows with a `paused_at`, written by the functions of the module `domain`: `create`, `change` and
    `set_paused`.
    """

    form: Any
    domain: Any
    actions = ["pause_selected", "resume_selected"]
    change_form_outer_before_template = "accounts/row_head.html"
    change_form_before_template = list_before_template = "accounts/row_templates.html"
    templates: Mapping[str, Template] = {}
    meanings: Mapping[str, Text] = {}
    """What a status means for buyers, by its code."""
    open_parts: Mapping[Text, Collection[str]] = {}
    """Fields that a phone folds, by the titles of their parts."""
    parts: Mapping[Text, Collection[str]] = {}
    """The fields that are folded, by the titles of their parts."""

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A new row's page has the form alone, with its id."""
        return self.fields if obj else [*self.form.Meta.fields, *({"form_id"} & self.form.base_fields.keys())]

    def given_terms(self, form: Any, names: Collection[str]) -> Context:
        """The values of these fields, as the domain names them."""
        return {name: form.cleaned_data[name] for name in names}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write only the fields that were changed here: the page's copy of the others may be out of date."""
        terms = self.given_terms(form, form.changed_data if change else self.form.Meta.fields)
        if change:
            self.domain.change(**self._id(obj), **terms, reason=form.cleaned_data[REASON])
            return
        create = partial(self.domain.create, **terms)
        form_id = form.cleaned_data.get("form_id")
        action = f"create {self.opts.model_name}"
        obj.pk = create_once(request, form_id, action, create, meaning=terms) if form_id else create().pk

    def _id(self, row: Any) -> dict[str, int]:
        return {f"{self.opts.model_name}_id": row.pk}

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never: coupons, orders, entries and movements refer to these rows."""
        return False

    def pausing_note(self, row: Any) -> str:
        """A sentence on what a pause of this row doesn't stop; empty if it stops all."""
        return ""

    def status_of(self, row: Any) -> str:
        """The code of the row's status now."""
        return str(row.status_at(clock.now()))

    @display(description=_("status"))
    def shown_status(self, row: Any) -> str:
        return status_label(self.status_of(row))

    def left_text(self, row: Any) -> str:
        """How much is left of the row to be issued or sold."""
        raise NotImplementedError

    def checks(self, row: Any) -> list[Check]:
        """What is to be there before it opens."""
        return []

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        found = super().get_list_display(request)
        return [*found, "pause_button"] if self.has_change_permission(request) else found

    @display(description=_("Pause"))
    def pause_button(self, row: Any) -> str:
        """A button that pauses or resumes the row at once: it sends the list's form to another address."""
        if self.status_of(row) in ("closed", "scheduled"):
            return ""
        text, name = (_("Resume"), "resume") if row.paused_at else (_("Pause"), "pause")
        address = reverse(view_of(row, name), args=[row.pk])
        button = '<button type="submit" formaction="{}" class="fc-press" aria-label="{} {}">{}</button>'
        return format_html(button, address, text, row.name, text)

    def response_post_save_add(self, request: HttpRequest, obj: Any) -> HttpResponseRedirect:
        """To the row's page, which says what is missing before it opens."""
        return self._to_row(obj)

    def get_changeform_initial_data(self, request: HttpRequest) -> Context:
        """The terms of the template that the address names."""
        template = self.templates.get(request.GET.get("template", ""))
        terms = {"opens_at": tomorrow_at_ten(), **template.terms()} if template else {}
        return super().get_changeform_initial_data(request) | terms

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """The fields in parts: the first ones without a title, then those of `open_parts` and `parts`."""
        [(_title, options), *others] = super().get_fieldsets(request, obj)
        titled = {**self.open_parts, **self.parts}
        folded = {name for names in titled.values() for name in names}
        first = [name for name in options["fields"] if name not in folded]
        parts = []
        for title, names in titled.items():
            if shown := [name for name in options["fields"] if name in names]:
                folding = ["fc-open"] if title in self.open_parts else []
                classes = ["collapse", *folding] if obj or not folding else []
                parts.append((title, {"fields": shown, "classes": classes}))
        return [(None, {"fields": first}), *parts, *others]

    def add_context(self, request: HttpRequest, row: Any, context: Context) -> None:
        """What the row is now and its actions stand above the form."""
        context["head"] = self.head(request, row)
        context.pop("actions_detail", None)

    def head(self, request: HttpRequest, row: Any) -> Context:
        """What `accounts/row_head.html` shows above each page of the row."""
        form = reverse(view_of(row), args=[row.pk])
        buttons = {
            one.method.__name__: {
                "title": one.description,
                "icon": one.icon,
                "path": reverse(f"admin:{one.action_name}", args=[row.pk]),
            }
            for one in self.get_actions_detail(request, str(row.pk))
        }
        status = self.status_of(row)
        may_change = self.has_change_permission(request, row)
        fields = self.get_form(request, row).base_fields if may_change else ()
        checks = []
        for check in self.checks(row) if status != "closed" else ():
            field = f"{form}#id_{check.field}" if check.field in fields else ""
            checks.append((check, buttons[check.fix]["path"] if check.fix in buttons else field))
        return {
            "status": status_label(status),
            "meaning": self.meanings.get(status, ""),
            "checks": checks,
            "is_before": status in BEFORE,
            "ready": sum(check.is_ready for check, _ in checks),
            "left": self.left_text(row),
            "note": self.pausing_note(row) if row.paused_at else "",
            "is_new": row.paused_at is not None and clock.age_seconds(row.paused_at) < UNDO_SECONDS,
            "pausing": {name: one for name, one in buttons.items() if name in PAUSE_BUTTONS},
            "actions": [one for name, one in buttons.items() if name not in PAUSE_BUTTONS],
        }

    @button(
        description=_("Pause"),
        icon="pause_circle",
        permissions=CHANGE,
        is_useful=lambda request, row: not row.paused_at,
    )
    def pause(self, request: HttpRequest, row: Any) -> HttpResponse:
        return self._press(request, row, is_paused=True)

    @button(description=_("Resume"), icon="play_circle", permissions=CHANGE, is_useful=_is_paused)
    def resume(self, request: HttpRequest, row: Any) -> HttpResponse:
        return self._press(request, row, is_paused=False)

    @button(description=_("Why?"), icon="help", permissions=CHANGE, is_useful=_is_paused)
    def explain(self, request: HttpRequest, row: Any) -> Action:
        return Action(
            title=_("Why is %(name)s paused?") % {"name": row.name},
            description=_("It is paused already. The reason is added to its history."),
            submit=_("Add the reason"),
            form_class=PausingForm,
            perform=calling(pausing.explain, kind=self.opts.model_name, row_id=row.pk),
            report=lambda given: gettext("Added to the history: %(reason)s") % {"reason": given},
            once=f"explain {self.opts.model_name} {row.pk}",
        )

    def _press(self, request: HttpRequest, row: Any, *, is_paused: bool) -> HttpResponse:
        """Pause or resume the row at once, and lead back to its page, which says so."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            self._change_row(row, request.POST.get(REASON), is_paused=is_paused)
        except FirstcomeError as error:
            messages.error(request, refusal_text(error))
        return self._to_row(row)

    def _to_row(self, row: Any) -> HttpResponseRedirect:
        return redirect(self.row_page or view_of(row), row.pk)

    def _change_row(self, row: Any, reason: str | None, *, is_paused: bool) -> Any:
        return self.domain.set_paused(**self._id(row), is_paused=is_paused, reason=reason)

    @list_action(description=_("Pause the selected %(verbose_name_plural)s"), permissions=CHANGE)
    def pause_selected(self, request: HttpRequest, rows: Sequence[Any]) -> Action:
        return self._describe(request, rows, is_paused=True)

    @list_action(description=_("Resume the selected %(verbose_name_plural)s"), permissions=CHANGE)
    def resume_selected(self, request: HttpRequest, rows: Sequence[Any]) -> Action:
        return self._describe(request, rows, is_paused=False)

    def _describe(self, request: HttpRequest, rows: Sequence[Any], *, is_paused: bool) -> Action:
        title = _("Pause %(count)s %(name)s") if is_paused else _("Resume %(count)s %(name)s")
        name = self.opts.verbose_name if len(rows) == 1 else self.opts.verbose_name_plural
        return Action(
            title=title % {"count": len(rows), "name": name},
            description=PAUSING if is_paused else RESUMING,
            submit=_("Pause now") if is_paused else _("Resume now"),
            form_class=PausingForm,
            perform=calling(self._change_rows, request=request, rows=rows, is_paused=is_paused),
            rows=[(row, self.pausing_note(row) if is_paused else "") for row in rows],
        )

    def _change_rows(self, request: HttpRequest, rows: Sequence[Any], reason: str, *, is_paused: bool) -> str:
        """Change each row, and say which were changed; show which were so already, and which were refused.

        Raises `Rejected` if none was changed.
        """
        changed = []
        unchanged = []
        refused = []
        notes = []
        for row in rows:
            if (row.paused_at is not None) == is_paused:
                unchanged.append(str(row))
                continue
            try:
                after = self._change_row(row, reason, is_paused=is_paused)
            except FirstcomeError as error:
                refused.append(f"{row}: {error.detail}")
            else:
                changed.append(str(row))
                if is_paused and (note := self.pausing_note(after)):
                    notes.append(f"{row}: {note}")
        if unchanged:
            paused = gettext("Paused already, so nothing was done: %(names)s.")
            text = paused if is_paused else gettext("Not paused, so nothing was done: %(names)s.")
            refused.append(text % {"names": ", ".join(unchanged)})
        if not changed:
            raise Rejected(" ".join(refused))
        for text in refused:
            messages.warning(request, text)
        done = gettext("Paused: %(names)s.") if is_paused else gettext("Resumed: %(names)s.")
        return " ".join([done % {"names": ", ".join(changed)}, *notes])
