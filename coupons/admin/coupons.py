"""Admin pages of coupons, which can be voided, pool codes, queue tickets and pending confirmations."""

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy as _

from coupons import issued_coupons
from coupons.models import Confirmation, Coupon, PoolCode, QueueTicket
from shop import clock
from shop.admin_base import actions
from shop.admin_base.actions import Action, button
from shop.admin_base.display import status_label
from shop.admin_base.lists import RecordsAdmin, column


@admin.register(Coupon)
class CouponAdmin(RecordsAdmin):
    list_display = ["code", "campaign", "account", "position", "shown_status", "issued_at", "expires_at"]
    list_prefetch_related = ["campaign", "account"]
    list_filter = ["status", "issued_at"]
    unindexed_filters = {"status__exact", "issued_at__gte", "issued_at__lt"}
    linked_lookups = ["account__id__exact", "campaign__id__exact"]
    search_fields = ["code", "account__username"]
    search_help_text = _("A coupon's code, or an account's name")
    actions_detail = ["void"]

    shown_status = column(_("status"), lambda coupon: status_label(coupon.status_at(clock.now())))

    @button(description=_("Make void"), icon="block", permissions=["coupons.change_coupon"])
    def void(self, request: HttpRequest, coupon: Coupon) -> Action:
        def perform(data: Mapping[str, Any]) -> str:
            voided = issued_coupons.void(code=coupon.code, reason=data["reason"])
            self.log_change(request, voided, f"Made void: {data['reason']}")
            return gettext("Coupon %(code)s is void.") % {"code": voided.code}

        return Action(
            title=_("Make this coupon void"),
            description=_("It can't be undone: its owner can't have another of this campaign."),
            submit=_("Make void"),
            perform=perform,
            back=actions.page_of(coupon),
            is_dangerous=True,
        )


@admin.register(PoolCode)
class PoolCodeAdmin(RecordsAdmin):
    list_display = ["code", "campaign", "shown_status", "added_at"]
    list_prefetch_related = ["campaign"]
    list_filter = ["status", "added_at"]
    unindexed_filters = {"status__exact", "added_at__gte", "added_at__lt"}
    search_fields = ["code"]

    shown_status = column(_("status"), lambda code: status_label(code.status, word=code.get_status_display()))


@admin.register(QueueTicket)
class QueueTicketAdmin(RecordsAdmin):
    list_display = ["id", "campaign", "account", "number", "shown_status", "coupon", "created_at"]
    list_prefetch_related = ["campaign", "account", "coupon"]
    list_filter = ["status", "created_at"]
    unindexed_filters = {"status__exact", "created_at__gte", "created_at__lt"}
    linked_lookups = ["account__id__exact"]
    search_fields = ["id", "account__username"]
    search_help_text = _("The id of a ticket, or an account's name")

    shown_status = column(_("status"), lambda ticket: status_label(ticket.status))


@admin.register(Confirmation)
class ConfirmationAdmin(RecordsAdmin):
    """Slots that a partner has not confirmed yet; they are settled automatically."""

    list_display = ["key", "campaign", "partner", "account", "code", "taken_at", "attempts", "is_cancelled"]
    list_prefetch_related = ["campaign", "account"]
    list_filter = ["is_cancelled", "taken_at"]
    search_fields = ["key", "code", "account__username"]
    search_help_text = _("A key, a code, or an account's name")
    ordering = ["pk"]

    partner = column(_("partner"), lambda confirmation: confirmation.campaign.partner)
