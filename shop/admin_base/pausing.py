"""Admin pages of what can be paused: buttons on its page and actions of its list, each with a reason."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext, gettext_lazy as _
from unfold.admin import ModelAdmin

from shop.admin_base.actions import Action, ActionForm, button, page_of, run_for_selected
from shop.admin_base.classes import ListMixin
from shop.admin_base.forms import reason_field
from shop.errors import FirstcomeError, Rejected
from shop.pausing import LONGEST_REASON

CHANGE = ["change"]
PAUSING = _("Nothing more is issued or sold of what is paused, until it is resumed.")
RESUMING = _("What is resumed is issued or sold again, as far as its dates, quantity and stock allow.")


class PausingForm(ActionForm):
    """Why it is paused or resumed."""

    reason = reason_field(_("The journal records it, with your name."), max_length=LONGEST_REASON)


class PausingMixin(ListMixin, ModelAdmin):
    """Rows with a `paused_at`; a subclass lists these actions, and changes a row by `set_paused`."""

    def set_paused(self, row_id: int, *, is_paused: bool, reason: str) -> Model:
        """Pause or resume the row by its domain function. Raises the shop's errors."""
        raise NotImplementedError

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
        return self._change_one(request, row, is_paused=True)

    @button(
        description=_("Resume"),
        icon="play_circle",
        permissions=CHANGE,
        is_useful=lambda request, row: row.paused_at is not None,
    )
    def resume(self, request: HttpRequest, row: Any) -> Action:
        return self._change_one(request, row, is_paused=False)

    @admin.action(description=_("Pause the selected %(verbose_name_plural)s"), permissions=CHANGE)
    def pause_selected(self, request: HttpRequest, selected: "QuerySet[Model]") -> HttpResponse | None:
        return self._change_selected(request, selected, "pause_selected", is_paused=True)

    @admin.action(description=_("Resume the selected %(verbose_name_plural)s"), permissions=CHANGE)
    def resume_selected(self, request: HttpRequest, selected: "QuerySet[Model]") -> HttpResponse | None:
        return self._change_selected(request, selected, "resume_selected", is_paused=False)

    def _change_one(self, request: HttpRequest, row: Any, *, is_paused: bool) -> Action:
        texts = self._texts(is_paused=is_paused)
        return Action(
            title=texts.pop("title") % {"count": 1, "name": self.opts.verbose_name},
            perform=lambda data: self._change_rows(request, [row], data["reason"], is_paused=is_paused),
            back=page_of(row),
            rows=[(row, self.pausing_note(row) if is_paused else "")],
            **texts,
        )

    def _change_selected(
        self, request: HttpRequest, selected: "QuerySet[Model]", name: str, *, is_paused: bool
    ) -> HttpResponse | None:
        return run_for_selected(
            request,
            selected,
            name,
            partial(self._change_rows, request, is_paused=is_paused),
            note=lambda row: self.pausing_note(row) if is_paused else "",
            **self._texts(is_paused=is_paused),
        )

    def _texts(self, *, is_paused: bool) -> dict[str, Any]:
        return {
            "title": _("Pause %(count)s %(name)s") if is_paused else _("Resume %(count)s %(name)s"),
            "description": PAUSING if is_paused else RESUMING,
            "submit": _("Pause now") if is_paused else _("Resume now"),
            "form_class": PausingForm,
        }

    def _change_rows(self, request: HttpRequest, rows: Sequence[Any], reason: str, *, is_paused: bool) -> str:
        """Change each row, and say which were changed; show which were so already, and which were refused.

        Raises `Rejected` if none was changed.
        """
        changed, unchanged, refused, notes = [], [], [], []
        for row in rows:
            if (row.paused_at is not None) == is_paused:
                unchanged.append(str(row))
                continue
            try:
                after = self.set_paused(row.pk, is_paused=is_paused, reason=reason)
            except FirstcomeError as error:
                refused.append(f"{row}: {error.detail}")
            else:
                self.log_change(request, after, f"{'Paused' if is_paused else 'Resumed'}: {reason}")
                changed.append(str(row))
                if is_paused and (note := self.pausing_note(after)):
                    notes.append(f"{row}: {note}")
        if unchanged:
            paused, not_paused = (
                gettext("Nothing to do, paused already: %(names)s."),
                gettext("Nothing to do, not paused: %(names)s."),
            )
            refused.append((paused if is_paused else not_paused) % {"names": ", ".join(unchanged)})
        if not changed:
            raise Rejected(" ".join(refused))
        for text in refused:
            self.message_user(request, text, level=messages.WARNING)
        done = gettext("Paused: %(names)s.") if is_paused else gettext("Resumed: %(names)s.")
        return " ".join([done % {"names": ", ".join(changed)}, *notes])
