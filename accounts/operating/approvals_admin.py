"""The admin's pages of approvals."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.enums import ActionVariant

from accounts.operating import approvals
from foundation.admin_base.actions import Action, button, calling
from foundation.admin_base.classes import ReadOnlyMixin
from foundation.admin_base.display import status_label, stored_text
from foundation.admin_base.lists import EVERYTHING, choice_filter, column
from foundation.approval_models import Approval

WAITING = Approval.Status.WAITING
DECISIONS = {"waiting": (_("Waiting"), Q(status=WAITING)), EVERYTHING: (_("All"), Q())}


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyMixin, ModelAdmin):
    """What operators asked for; another operator approves or refuses it, with a reason."""

    list_display = ["act", "summary", "asker_name", "reason", "asked_at", "state"]
    list_filter = [choice_filter(_("decision"), "decision", DECISIONS, opened_with=lambda: "waiting")]
    list_filter_sheet = False
    ordering = ["-id"]
    fieldsets = [
        (None, {"fields": ["act", "asked_for", "asker_name", "reason", "asked_at"]}),
        (_("Decision"), {"fields": ["state", "decider_name", "answer", "decided_at", "shown_outcome"]}),
    ]
    actions_detail = ["approve", "refuse"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        names = User.objects.filter(pk=OuterRef("account_id")).values("username")
        return super().get_queryset(request).annotate(account_name=Subquery(names))

    act = column(_("act"), lambda approval: str(approvals.title(approval)))
    state = column(_("state"), lambda approval: status_label(approval.status))
    shown_outcome = column(_("outcome"), lambda approval: stored_text(approval.outcome))

    @admin.display(description=_("asked for"))
    def summary(self, approval: Approval) -> str:
        facts = [f"{name} {value}" for name, value in approvals.describe(approval)]
        return ", ".join(facts if approval.account_id is None else [*facts, _account_of(approval)])

    @admin.display(description=_("asked for"))
    def asked_for(self, approval: Approval) -> SafeString:
        shown = format_html_join("", "<div>{}: {}</div>", approvals.describe(approval))
        if approval.account_id is None:
            return shown
        address = reverse("account-page", args=[approval.account_id])
        return shown + format_html('<a class="text-link" href="{}">{}</a>', address, _account_of(approval))

    @button(
        description=_("Approve"),
        icon="check",
        permissions=[approvals.DECIDE],
        variant=ActionVariant.PRIMARY,
        is_useful=lambda request, row: row.status == WAITING and row.asker_id != request.user.pk,
    )
    def approve(self, request: HttpRequest, approval: Approval) -> Action:
        done = gettext("Approved and done: %(outcome)s.")
        return Action(
            title=_("Approve this request"),
            description=_(
                "It is done at once, in your name and that of the member who asked. Check first that "
                "it is right: you answer for it."
            ),
            perform=calling(approvals.approve, approval_id=approval.pk),
            report=lambda decided: done % {"outcome": stored_text(decided.outcome)},
            rows=[(self.summary(approval), "")],
        )

    @button(
        description=_("Refuse"),
        icon="block",
        permissions=[approvals.DECIDE],
        is_useful=lambda request, row: row.status == WAITING,
    )
    def refuse(self, request: HttpRequest, approval: Approval) -> Action:
        return Action(
            title=_("Refuse this request"),
            description=_("Nothing is done. The member who asked may ask again."),
            perform=calling(approvals.refuse, approval_id=approval.pk),
            report=lambda _: gettext("Refused: nothing was done."),
            rows=[(self.summary(approval), "")],
        )


def _account_of(approval: Any) -> str:
    return f"{approval.account_name or ''} ({approval.account_id})".strip()
