"""Admin pages of what domain functions create, change and pause: campaigns, products and sales.

A row's page pauses and resumes at once and takes the reason afterwards; the list's actions ask for it first.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from accounts.operating import pausing, row_history
from accounts.operating.row_checks import Check
from foundation import clock
from foundation.admin_base.actions import Action, ActionForm, button, create_once, run_for_selected
from foundation.admin_base.classes import (
    REASON,
    ListMixin,
    NonAtomicAdmin,
    ReasonedChangesMixin,
    refusal_text,
)
from foundation.admin_base.display import admin_page, status_label
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
PAUSING = _("Nothing more is issued or sold of what is paused, until it is resumed.")
RESUMING = _("What is resumed is issued or sold again, as far as its dates, quantity and stock allow.")


class PausingForm(ActionForm):
    """Why it is paused or resumed."""

    reason = reason_field(_("The journal records it, with your name."), max_length=LONGEST_REASON)


class Template(NamedTuple):
    """Terms that the page of a new row is filled with; operators change them before they save."""

    title: Text
    description: Text
    terms: Callable[[], Mapping[str, Any]]


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
    parts: Mapping[Text, Collection[str]] = {}
    """The fields that are folded, by the titles of their parts."""

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A new row's page has the form alone, with its id."""
        return self.fields if obj else [*self.form.Meta.fields, *({"form_id"} & self.form.base_fields.keys())]

    def given_terms(self, form: Any, names: Collection[str]) -> dict[str, Any]:
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
        if self.status_of(row) == "closed":
            return ""
        text, name = (_("Resume"), "resume") if row.paused_at else (_("Pause"), "pause")
        address = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}", args=[row.pk])
        button = '<button type="submit" formaction="{}" class="fc-press" aria-label="{} {}">{}</button>'
        return format_html(button, address, text, row.name, text)

    def response_post_save_add(self, request: HttpRequest, obj: Any) -> HttpResponseRedirect:
        """To the row's page, which says what is missing before it opens."""
        return self._to_row(obj)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The terms of the template that the address names."""
        template = self.templates.get(request.GET.get("template", ""))
        terms = template.terms() if template else {}
        return super().get_changeform_initial_data(request) | dict(terms)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """The fields in parts: the first ones without a title, then those of `parts`, folded."""
        [(_title, options), *others] = super().get_fieldsets(request, obj)
        folded = {name for names in self.parts.values() for name in names}
        first = [name for name in options["fields"] if name not in folded]
        parts = []
        for title, names in self.parts.items():
            if shown := [name for name in options["fields"] if name in names]:
                parts.append((title, {"fields": shown, "classes": ["collapse"]}))
        return [(None, {"fields": first}), *parts, *others]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **named: Any
    ) -> HttpResponse:
        """As Django's, with what the row is now and its actions above the form."""
        row = named.get("obj")
        if row is not None:
            context["head"] = self.head(request, row)
            context.pop("actions_detail", None)
        return super().render_change_form(request, context, *args, **named)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The journal of the row, for those who may view it; Django's own log has only part of that."""
        row = self.get_object(request, object_id)
        if row is None or not self.has_view_permission(request, row):
            return super().history_view(request, object_id, extra_context)
        may_read = request.user.has_perm("shop.view_journalline")
        context = {
            "title": gettext("History of %(name)s") % {"name": row},
            "opts": self.opts,
            "original": row,
            "lines": row_history.read(row) if may_read else None,
        }
        return admin_page(request, "accounts/row_history.html", context)

    def head(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What `accounts/row_head.html` shows above each page of the row."""
        form = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk])
        buttons = {
            one.action_name.removeprefix(f"{self.opts.app_label}_{self.opts.model_name}_"): {
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
        is_useful=lambda request, row: row.paused_at is None,
    )
    def pause(self, request: HttpRequest, row: Any) -> HttpResponse:
        return self._press(request, row, is_paused=True)

    @button(
        description=_("Resume"),
        icon="play_circle",
        permissions=CHANGE,
        is_useful=lambda request, row: row.paused_at is not None,
    )
    def resume(self, request: HttpRequest, row: Any) -> HttpResponse:
        return self._press(request, row, is_paused=False)

    @button(
        description=_("Why?"),
        icon="help",
        permissions=CHANGE,
        is_useful=lambda request, row: row.paused_at is not None,
    )
    def explain(self, request: HttpRequest, row: Any) -> Action:
        return Action(
            title=_("Why is %(name)s paused?") % {"name": row.name},
            description=_("It is paused already. The reason is added to its history."),
            submit=_("Add the reason"),
            form_class=PausingForm,
            perform=lambda data: pausing.explain(str(self.opts.model_name), row.pk, reason=data[REASON]),
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
            self.message_user(request, refusal_text(error), level=messages.ERROR)
        return self._to_row(row)

    def _to_row(self, row: Any) -> HttpResponseRedirect:
        own = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return redirect(self.row_page or own, row.pk)

    def _change_row(self, row: Any, reason: str | None, *, is_paused: bool) -> Any:
        return self.domain.set_paused(**self._id(row), is_paused=is_paused, reason=reason)

    @admin.action(description=_("Pause the selected %(verbose_name_plural)s"), permissions=CHANGE)
    def pause_selected(self, request: HttpRequest, selected: "QuerySet[Model]") -> HttpResponse | None:
        describe = partial(self._describe, request, is_paused=True)
        return run_for_selected(request, selected, "pause_selected", describe)

    @admin.action(description=_("Resume the selected %(verbose_name_plural)s"), permissions=CHANGE)
    def resume_selected(self, request: HttpRequest, selected: "QuerySet[Model]") -> HttpResponse | None:
        describe = partial(self._describe, request, is_paused=False)
        return run_for_selected(request, selected, "resume_selected", describe)

    def _describe(self, request: HttpRequest, rows: Sequence[Any], *, is_paused: bool) -> Action:
        title = _("Pause %(count)s %(name)s") if is_paused else _("Resume %(count)s %(name)s")
        name = self.opts.verbose_name if len(rows) == 1 else self.opts.verbose_name_plural
        return Action(
            title=title % {"count": len(rows), "name": name},
            description=PAUSING if is_paused else RESUMING,
            submit=_("Pause now") if is_paused else _("Resume now"),
            form_class=PausingForm,
            perform=lambda data: self._change_rows(request, rows, data["reason"], is_paused=is_paused),
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
            paused = gettext("Nothing to do, paused already: %(names)s.")
            text = paused if is_paused else gettext("Nothing to do, not paused: %(names)s.")
            refused.append(text % {"names": ", ".join(unchanged)})
        if not changed:
            raise Rejected(" ".join(refused))
        for text in refused:
            self.message_user(request, text, level=messages.WARNING)
        done = gettext("Paused: %(names)s.") if is_paused else gettext("Resumed: %(names)s.")
        return " ".join([done % {"names": ", ".join(changed)}, *notes])
