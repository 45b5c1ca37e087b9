"""Admin pages of what can be paused: buttons on its page and actions of its list, each with a reason."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.dataclasses import ActionDialog
from unfold.decorators import action
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget

from shop.admin_site import ListMixin
from shop.errors import FirstcomeError
from shop.pausing import LONGEST_REASON

# Each is a transaction of its own, and all of them are listed on the page that asks for the reason.
MOST_AT_ONCE = 100
CHANGE = ["change"]
PAUSING = "What is paused is issued or sold by no process from then on, until it is resumed."
RESUMING = "What is resumed is issued or sold again, as far as its other terms allow."


class ReasonForm(BaseDialogForm):
    """Why it is paused or resumed."""

    reason = forms.CharField(
        max_length=LONGEST_REASON,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="The journal records it, with your name.",
    )


PAUSE = ActionDialog(title="Pause", description=PAUSING, form_class=ReasonForm, form_submit_text="Pause now")
RESUME = ActionDialog(
    title="Resume", description=RESUMING, form_class=ReasonForm, form_submit_text="Resume now"
)


class PausingMixin(ListMixin, ModelAdmin):
    """Rows with a `paused_at`; a subclass lists these actions, and changes a row by `set_paused`."""

    def set_paused(self, row_id: int, *, is_paused: bool, reason: str) -> Model:
        """Pause or resume the row by its domain function. Raises the shop's errors."""
        raise NotImplementedError

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Without the button that would change nothing."""
        row: Any = self.get_object(request, object_id)
        useless = "resume" if row is None or row.paused_at is None else "pause"
        buttons = super().get_actions_detail(request, object_id)
        return [button for button in buttons if button.path != useless]

    @action(description="Pause", icon="pause_circle", permissions=CHANGE, dialog=PAUSE)
    def pause(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._change_one(request, form, object_id, is_paused=True)

    @action(description="Resume", icon="play_circle", permissions=CHANGE, dialog=RESUME)
    def resume(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self._change_one(request, form, object_id, is_paused=False)

    @admin.action(description="Pause the selected %(verbose_name_plural)s", permissions=CHANGE)
    def pause_selected(self, request: HttpRequest, selected: "QuerySet[Model]") -> HttpResponse | None:
        return self._change_selected(request, selected, "pause_selected", PAUSE, is_paused=True)

    @admin.action(description="Resume the selected %(verbose_name_plural)s", permissions=CHANGE)
    def resume_selected(self, request: HttpRequest, selected: "QuerySet[Model]") -> HttpResponse | None:
        return self._change_selected(request, selected, "resume_selected", RESUME, is_paused=False)

    def _change_one(
        self, request: HttpRequest, form: ReasonForm, object_id: str, *, is_paused: bool
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        self._change_rows(request, [row], form.cleaned_data["reason"], is_paused=is_paused)
        # The dialog is a fragment of the page: this header makes the browser load the whole page again.
        page = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[object_id])
        return HttpResponse(headers={"HX-Redirect": page})

    def _change_selected(
        self,
        request: HttpRequest,
        selected: "QuerySet[Model]",
        action_name: str,
        dialog: ActionDialog,
        *,
        is_paused: bool,
    ) -> HttpResponse | None:
        """Ask for the reason on a page that lists the rows, then change each of them."""
        rows = list(selected.order_by("pk")[: MOST_AT_ONCE + 1])
        if len(rows) > MOST_AT_ONCE:
            too_many = f"Nothing was done: select {MOST_AT_ONCE} at most, in several steps."
            self.message_user(request, too_many, level=messages.ERROR)
            return None
        form = ReasonForm(request=request, data=request.POST if "_form_submitted" in request.POST else None)
        if form.is_valid():
            self._change_rows(request, rows, form.cleaned_data["reason"], is_paused=is_paused)
            return None
        context = self.admin_site.each_context(request) | {
            "title": f"{dialog['title']} {len(rows)} {self._name_of(len(rows))}",
            "opts": self.opts,
            "rows": rows,
            "form": form,
            "dialog": dialog,
            "action_name": action_name,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/pause_selected.html", context)

    def _change_rows(self, request: HttpRequest, rows: list[Any], reason: str, *, is_paused: bool) -> None:
        """Change each row, and show which were changed, which were so already, and which were refused."""
        changed, unchanged = [], []
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
        if changed:
            self.message_user(request, f"{'Paused' if is_paused else 'Resumed'}: {', '.join(changed)}.")
        if unchanged:
            state = "paused already" if is_paused else "not paused"
            self.message_user(
                request, f"Nothing to do, {state}: {', '.join(unchanged)}.", level=messages.WARNING
            )

    def _name_of(self, count: int) -> str:
        return str(self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural)
