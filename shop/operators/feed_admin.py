"""The operators' pages of the event feed, of webhook endpoints and of what is delivered to them."""

from collections.abc import Sequence
from functools import partial

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext, gettext_lazy as _, ngettext_lazy
from unfold.admin import ModelAdmin

from shop.admin_site import ReadOnlyMixin
from shop.errors import FirstcomeError
from shop.feed_models import FeedEvent
from shop.operators import actions
from shop.operators.display import link, status_label
from shop.operators.lists import RecordsAdmin, column
from shop.outbound import public_addresses
from shop.webhook_endpoints import deliveries, endpoints
from shop.webhook_models import WebhookDelivery, WebhookEndpoint

DELIVERIES = "admin:shop_webhookdelivery_changelist"


@admin.register(FeedEvent)
class FeedEventAdmin(RecordsAdmin):
    """The events that programs read, newest first. One without a position was committed a moment ago."""

    list_display = ["at", "type", "position", "order_id", "event_id"]
    fields = ["type", "at", "position", "event_id", "order_id", "data"]


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyMixin, ModelAdmin):
    """The endpoints, the data platform among them. Programs of staff create and change them by the API."""

    list_display = ["__str__", "address", "kind", "events", "failing_since", "disabled_at", "disabled_by"]
    fields = ["kind", "address", "events", "description", "owner_id", "api_key_id", "position", "created_at"]
    fields += ["failing_since", "failures", "next_attempt_at", "disabled_at", "disabled_by", "leased_until"]
    fields += ["pending"]
    ordering = ["-id"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[WebhookEndpoint]":
        endpoints.find()
        return super().get_queryset(request)

    address = column(_("url"), lambda row: public_addresses.shown(endpoints.address_of(row)))

    @admin.display(description=_("pending deliveries"))
    def pending(self, endpoint: WebhookEndpoint) -> str:
        if endpoint.kind == WebhookEndpoint.Kind.DATA_PLATFORM:
            page, query = "admin:shop_journalline_changelist", "delivery__exact=queued"
        else:
            page, query = DELIVERIES, f"endpoint__exact={endpoint.pk}&status__exact=pending"
        return link(gettext("Open"), page, query=query)


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(RecordsAdmin):
    """The log of deliveries, newest first."""

    list_display = ["created_at", "endpoint", "type", "shown_status", "attempts", "response_status", "error"]
    list_filter = ["status"]
    list_prefetch_related = ["endpoint"]
    linked_lookups = ["endpoint__exact"]
    fields = ["endpoint", "type", "event_id", "position", "status", "attempts", "response_status", "error"]
    fields += ["created_at", "next_attempt_at", "delivered_at", "payload"]
    actions = ["resend"]

    shown_status = column(_("status"), lambda row: status_label(row.status))

    @admin.action(description=_("Send the selected deliveries again"), permissions=["resend"])
    def resend(self, request: HttpRequest, selected: "QuerySet[WebhookDelivery]") -> HttpResponse | None:
        return actions.run_for_selected(
            request,
            selected,
            "resend",
            partial(self._resend_rows, request),
            title=ngettext_lazy("Send %(count)s delivery again", "Send %(count)s deliveries again", "count"),
            description=_("Each is sent at once, with the same id, and then tried as a new one is."),
            submit=_("Send again"),
        )

    def _resend_rows(self, request: HttpRequest, rows: Sequence[WebhookDelivery], reason: str) -> str:
        sent = 0
        for row in rows:
            try:
                deliveries.resend(endpoint_id=row.endpoint_id, delivery_id=row.pk, reason=reason)
                sent += 1
            except FirstcomeError as error:
                self.message_user(request, f"{row}: {error.detail}", level=messages.ERROR)
        return gettext("%(count)s are sent again.") % {"count": sent}

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("shop.change_webhookendpoint")
