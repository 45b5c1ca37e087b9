"""The operators' pages of webhook endpoints, whose secrets are shown once."""

import time
from operator import attrgetter

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from events.feed.reading import READ_EVENTS
from events.models import WebhookDelivery, WebhookEndpoint
from events.webhooks import deliveries, endpoints
from foundation.admin_base.actions import Action, ActionForm, NewForm, button, calling
from foundation.admin_base.classes import ReadOnlyMixin
from foundation.admin_base.display import link, status_label, stored_text
from foundation.admin_base.lists import column
from foundation.admin_base.status_words import plain_text
from foundation.lazy_texts import Text
from foundation.outbound import public_addresses

DELIVERIES = "admin:events_webhookdelivery_changelist"
ENDPOINTS = "admin:events_webhookendpoint_changelist"
ADD_ENDPOINT = "events.add_webhookendpoint"
CHANGE_ENDPOINT = "events.change_webhookendpoint"
WRITING = [CHANGE_ENDPOINT, READ_EVENTS]
USE = _("Put it into the program, which checks by it that messages are from this shop.")
ANSWER_SECONDS = 5.0
"""How long the page of a test waits for the endpoint's answer."""
LOOK_SECONDS = 0.2
TROUBLES = ("failing_since", "disabled_at", "disabled_by")
TOPICS: dict[str, Text] = {
    "*": _("Everything that happens"),
    "order.*": _("Orders: placed, paid, refunded, cancelled"),
    "order.paid": _("Paid orders only"),
    "refund.*": _("Refunds: asked for, failed"),
    "payment.*": _("Disputes of payments"),
    "coupon.*": _("Coupons: issued, redeemed, voided"),
    "product.*": _("Products: created, changed, paused, sold out"),
    "stock.*": _("Stock: received, adjusted, low"),
    "stock.low": _("Low stock only"),
    "campaign.*": _("Campaigns: created, changed, paused"),
    "sale.*": _("Sales: created, changed, paused, drawn"),
}
"""Of events, by the patterns that choose them."""
OWN_TOPICS: dict[str, Text] = {
    "coupon.issued": _("Coupons issued"),
    "order.cancelled": _("Orders cancelled"),
    "order.refunded": _("Orders refunded"),
}
"""Of the data platform besides; the form doesn't offer them."""


class EndpointForm(NewForm):
    """A new endpoint."""

    url = forms.CharField(
        label=_("Address"),
        max_length=public_addresses.LONGEST_URL,
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True, "placeholder": "https://"}),
        help_text=_("The program's address. It begins with https, and can be reached from the internet."),
    )
    events = forms.MultipleChoiceField(
        label=_("What it is sent"), choices=TOPICS.items(), widget=UnfoldAdminCheckboxSelectMultipleWidget
    )
    description = forms.CharField(
        label=_("Name"),
        required=False,
        max_length=255,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("What it is for, such as: warehouse."),
    )


class TestForm(ActionForm):
    # A test changes nothing; the journal says who asked for it.
    reason = None  # type: ignore[assignment]


def _is_enabled(request: HttpRequest, endpoint: WebhookEndpoint) -> bool:
    return not endpoint.is_built_in and endpoint.is_enabled


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyMixin, ModelAdmin):
    """The endpoints, the data platform among them, which has no buttons: the settings are its own."""

    subjects = ("webhook endpoint",)
    list_display = ["name", "state", "address", "topics", "failing_since"]
    exported = ["address", "__str__", "kind", "events", "failing_since", "disabled_at", "disabled_by"]
    fields = [
        "state",
        "address",
        "topics",
        "created_at",
        "failing_since",
        "disabled_at",
        "disabled_by",
        "sent",
        "kind",
        "events",
        "owner_id",
        "api_key_id",
        "position",
        "failures",
        "next_attempt_at",
        "leased_until",
    ]
    technical = fields[fields.index("kind") :]
    ordering = ["-id"]
    actions_list = ["create"]
    actions_detail = ["test", "rotate", "disable", "enable"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[WebhookEndpoint]":
        endpoints.find()
        return super().get_queryset(request)

    name = column(_("name"), str)
    address = column(
        _("address"),
        lambda row: (
            public_addresses.shown(endpoints.address_of(row)) or gettext("off: DATA_PLATFORM_URL is empty")
        ),
    )
    topics = column(
        _("what it is sent"),
        lambda row: " · ".join(str((TOPICS | OWN_TOPICS).get(one) or plain_text(one)) for one in row.events),
    )
    state = column(_("state"), lambda row: status_label("active" if row.is_enabled else "disabled"))
    sent = column(
        _("what was sent"), lambda row: link(gettext("Open"), DELIVERIES, query=f"endpoint__exact={row.pk}")
    )

    def get_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> list[str]:
        """Without what a working endpoint has not."""
        return [name for name in self.fields if name not in TROUBLES or getattr(obj, name)]

    @button(description=_("Add an endpoint"), icon="add", permissions=[ADD_ENDPOINT, READ_EVENTS])
    def create(self, request: HttpRequest) -> Action:
        return Action(
            title=gettext("Add a webhook endpoint"),
            description=gettext(
                "The shop tells a program at this address what happens from now on. The next page "
                "shows, once, the secret by which the program checks the messages."
            ),
            submit=gettext("Add the endpoint"),
            form_class=EndpointForm,
            perform=calling(endpoints.create, owner=_owner(request)),
            once="create webhook endpoint",
            secret=attrgetter("secret"),
            use=USE,
            back=reverse(ENDPOINTS),
        )

    @button(description=_("Send a test"), icon="send", permissions=[CHANGE_ENDPOINT], is_useful=_is_enabled)
    def test(self, request: HttpRequest, endpoint: WebhookEndpoint) -> Action:
        return Action(
            title=f"{gettext('Send a test')}: {endpoint}",
            description=_(
                "A test event (webhook.test) is sent now, and the answer is shown here. If it fails, "
                "it is tried again by itself."
            ),
            submit=_("Send the test"),
            form_class=TestForm,
            perform=lambda data: _test(request, endpoint),
        )

    @button(
        description=_("New secret"),
        icon="autorenew",
        permissions=WRITING,
        is_useful=lambda request, endpoint: not endpoint.is_built_in,
    )
    def rotate(self, request: HttpRequest, endpoint: WebhookEndpoint) -> Action:
        return Action(
            title=f"{gettext('New secret')}: {endpoint}",
            description=gettext(
                "The new secret is shown once, on the next page. The old one works for another 24 "
                "hours: put the new one into the program within that time."
            ),
            submit=gettext("Make a new secret"),
            perform=calling(endpoints.rotate_secret, endpoint_id=endpoint.pk),
            once=f"rotate webhook endpoint {endpoint.pk}",
            secret=attrgetter("secret"),
            use=USE,
        )

    @button(description=_("Disable"), icon="block", permissions=WRITING, is_useful=_is_enabled)
    def disable(self, request: HttpRequest, endpoint: WebhookEndpoint) -> Action:
        what = _("Nothing more is sent to it. If you enable it again, it gets what happened in between.")
        return _switching(request, endpoint, _("Disable"), what, is_enabled=False)

    @button(
        description=_("Enable"),
        icon="play_arrow",
        permissions=WRITING,
        is_useful=lambda request, endpoint: not (endpoint.is_built_in or endpoint.is_enabled),
    )
    def enable(self, request: HttpRequest, endpoint: WebhookEndpoint) -> Action:
        what = _(
            "It gets what happened while it was disabled, as far as that is kept. Then it gets all "
            "that happens from now on."
        )
        return _switching(request, endpoint, _("Enable"), what, is_enabled=True)


def _switching(
    request: HttpRequest, endpoint: WebhookEndpoint, title: Text, what: Text, *, is_enabled: bool
) -> Action:
    return Action(
        title=f"{title}: {endpoint}",
        description=what,
        perform=calling(
            endpoints.change, endpoint_id=endpoint.pk, is_enabled=is_enabled, owner=_owner(request)
        ),
        report=lambda changed: gettext("The endpoint was changed: %(endpoint)s.") % {"endpoint": changed},
        is_dangerous=not is_enabled,
    )


def _owner(request: HttpRequest) -> endpoints.Owner:
    return endpoints.Owner(int(str(request.user.pk)))


def _test(request: HttpRequest, endpoint: WebhookEndpoint) -> HttpResponse:
    """Send a test, and show the answer on the endpoint's page, or that there is none yet."""
    row = deliveries.send_test(endpoint_id=endpoint.pk)
    until = time.monotonic() + ANSWER_SECONDS
    while not row.attempts and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        row.refresh_from_db()
    is_taken = row.status == WebhookDelivery.Status.DELIVERED
    answer = row.response_status or stored_text(row.error)
    text = gettext("There is no answer yet. Look at “what was sent” in a moment.")
    if is_taken:
        text = gettext("It works: the program answered %(answer)s.") % {"answer": answer}
    elif row.attempts:
        text = gettext("It doesn't work: the answer was %(answer)s.") % {"answer": answer}
    (messages.success if is_taken else messages.warning)(request, text)
    return redirect("admin:events_webhookendpoint_change", endpoint.pk)
