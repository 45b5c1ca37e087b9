"""Admin pages of what domain functions create, change and pause: campaigns, products and sales.

Pausing has buttons on a row's page and actions of the list, each with a reason.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext, gettext_lazy as _
from unfold.admin import ModelAdmin

from foundation.admin_base.actions import Action, ActionForm, button, create_once, run_for_selected
from foundation.admin_base.classes import REASON, ListMixin, NonAtomicAdmin, ReasonedChangesMixin
from foundation.admin_base.forms import reason_field
from foundation.errors import FirstcomeError, Rejected
from foundation.reasons import LONGEST_REASON

CHANGE = ["change"]
PAUSING = _("Nothing more is issued or sold of what is paused, until it is resumed.")
RESUMING = _("What is resumed is issued or sold again, as far as its dates, quantity and stock allow.")


class PausingForm(ActionForm):
    """Why it is paused or resumed."""

    reason = reason_field(_("The journal records it, with your name."), max_length=LONGEST_REASON)


class PausableAdmin(ReasonedChangesMixin, ListMixin, ModelAdmin, NonAtomicAdmin):
    """Rows with a `paused_at`, written by the functions of the module `domain`: `create`, `change` and
    `set_paused`.
    """

    form: Any
    domain: Any
    actions = ["pause_selected", "resume_selected"]

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

    @button(
        description=_("Pause"),
        icon="pause_circle",
        permissions=CHANGE,
        is_useful=lambda request, row: row.paused_at is None,
    )
    def pause(self, request: HttpRequest, row: Any) -> Action:
        return self._describe(request, [row], is_paused=True)

    @button(
        description=_("Resume"),
        icon="play_circle",
        permissions=CHANGE,
        is_useful=lambda request, row: row.paused_at is not None,
    )
    def resume(self, request: HttpRequest, row: Any) -> Action:
        return self._describe(request, [row], is_paused=False)

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
                after = self.domain.set_paused(**self._id(row), is_paused=is_paused, reason=reason)
            except FirstcomeError as error:
                refused.append(f"{row}: {error.detail}")
            else:
                self.log_change(request, after, f"{'Paused' if is_paused else 'Resumed'}: {reason}")
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
