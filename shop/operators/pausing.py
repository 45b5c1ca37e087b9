"""Admin pages of what can be paused: buttons on its page and actions of its list, each with a reason."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.dataclasses import ActionDialog
from unfold.decorators import action

from shop.admin_site import ListMixin
from shop.errors import FirstcomeError
from shop.operators import selected_rows
from shop.operators.forms import ReasonDialog, reason_field, reload_page
from shop.operators.selected_rows import SelectedAction
from shop.pausing import LONGEST_REASON

CHANGE = ["change"]
PAUSING = _("Nothing more is issued or sold of what is paused, until it is resumed.")
RESUMING = _("What is resumed is issued or sold again, as far as its dates, quantity and stock allow.")
PAUSE_NOW, RESUME_NOW = _("Pause now"), _("Resume now")


class PausingDialog(ReasonDialog):
    """Why it is paused or resumed."""

    reason = reason_field(_("The journal records it, with your name."), max_length=LONGEST_REASON)


class PauseDialog(PausingDialog):
    """A dialog that asks why, and says what the pause of this row doesn't stop."""

    form_before_template = "operators/pausing_note.html"

    def get_before_template_context(
        self, request: HttpRequest, object_id: int | str | None = None
    ) -> dict[str, Any]:
        assert request.resolver_match
        # As unfold's addresses have it; a row that is gone is 404 once the form is sent.
        own = request.resolver_match.func.model_admin  # type: ignore[attr-defined]
        row = own.get_object(request, str(object_id))
        return {"note": own.pausing_note(row) if row else ""}


PAUSE = ActionDialog(
    title=_("Pause"), description=PAUSING, form_class=PauseDialog, form_submit_text=PAUSE_NOW
)
RESUME = ActionDialog(
    title=_("Resume"), description=RESUMING, form_class=PausingDialog, form_submit_text=RESUME_NOW
)


class PausingMixin(ListMixin, ModelAdmin):
    """Rows with a `paused_at`; a subclass lists these actions, and changes a row by `set_paused`."""

    def set_paused(self, row_id: int, *, is_paused: bool, reason: str) -> Model:
        """Pause or resume the row by its domain function. Raises the shop's errors."""
        raise NotImplementedError

    def pausing_note(self, row: Any) -> str:
        """A sentence on what a pause of this row doesn't stop; empty if it stops all."""
        return ""

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Without the button that would change nothing."""
        row: Any = self.get_object(request, object_id)
        useless = "resume" if row is None or row.paused_at is None else "pause"
        buttons = super().get_actions_detail(request, object_id)
        return [button for button in buttons if button.path != useless]

    @action(description=_("Pause"), icon="pause_circle", permissions=CHANGE, dialog=PAUSE)
    def pause(self, request: HttpRequest, form: PausingDialog, object_id: str) -> HttpResponse:
        return self._change_one(request, form, object_id, is_paused=True)

    @action(description=_("Resume"), icon="play_circle", permissions=CHANGE, dialog=RESUME)
    def resume(self, request: HttpRequest, form: PausingDialog, object_id: str) -> HttpResponse:
        return self._change_one(request, form, object_id, is_paused=False)

    @admin.action(description=_("Pause the selected %(verbose_name_plural)s"), permissions=CHANGE)
    def pause_selected(self, request: HttpRequest, selected: "QuerySet[Model]") -> HttpResponse | None:
        return self._change_selected(request, selected, "pause_selected", is_paused=True)

    @admin.action(description=_("Resume the selected %(verbose_name_plural)s"), permissions=CHANGE)
    def resume_selected(self, request: HttpRequest, selected: "QuerySet[Model]") -> HttpResponse | None:
        return self._change_selected(request, selected, "resume_selected", is_paused=False)

    def _change_one(
        self, request: HttpRequest, form: PausingDialog, object_id: str, *, is_paused: bool
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        self._change_rows(request, [row], form.cleaned_data["reason"], is_paused=is_paused)
        return reload_page(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", object_id)

    def _change_selected(
        self,
        request: HttpRequest,
        selected: "QuerySet[Model]",
        action_name: str,
        *,
        is_paused: bool,
    ) -> HttpResponse | None:
        """Ask for the reason on a page that lists the rows, then change each of them."""
        action = SelectedAction(
            name=action_name,
            title=partial(self._title, is_paused=is_paused),
            description=PAUSING if is_paused else RESUMING,
            submit=PAUSE_NOW if is_paused else RESUME_NOW,
            form_class=PausingDialog,
            note=lambda row: self.pausing_note(row) if is_paused else "",
            perform=partial(self._change_rows, request, is_paused=is_paused),
        )
        return selected_rows.run(self, request, selected, action)

    def _change_rows(
        self, request: HttpRequest, rows: Sequence[Any], reason: str, *, is_paused: bool
    ) -> None:
        """Change each row, and show which were changed, which were so already, and which were refused."""
        changed, unchanged, notes = [], [], []
        for row in rows:
            if (row.paused_at is not None) == is_paused:
                unchanged.append(str(row))
                continue
            try:
                after = self.set_paused(row.pk, is_paused=is_paused, reason=reason)
            except FirstcomeError as error:
                self.message_user(request, f"{row}: {error.detail}", level=messages.ERROR)
            else:
                self.log_change(request, after, f"{'Paused' if is_paused else 'Resumed'}: {reason}")
                changed.append(str(row))
                if is_paused and (note := self.pausing_note(after)):
                    notes.append(f"{row}: {note}")
        if changed:
            done = gettext("Paused: %(names)s.") if is_paused else gettext("Resumed: %(names)s.")
            self.message_user(request, " ".join([done % {"names": ", ".join(changed)}, *notes]))
        if unchanged:
            paused, not_paused = (
                gettext("Nothing to do, paused already: %(names)s."),
                gettext("Nothing to do, not paused: %(names)s."),
            )
            text = (paused if is_paused else not_paused) % {"names": ", ".join(unchanged)}
            self.message_user(request, text, level=messages.WARNING)

    def _title(self, count: int, *, is_paused: bool) -> str:
        name = self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural
        title = gettext("Pause %(count)s %(name)s") if is_paused else gettext("Resume %(count)s %(name)s")
        return title % {"count": count, "name": name}
