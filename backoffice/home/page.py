"""The home page: which sections an account sees, and the models below them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.db import Error, InterfaceError, OperationalError, connection
from django.db.models import Model
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_lazy as _
from redis.exceptions import RedisError
from structlog import get_logger

from backoffice import page_elements
from backoffice.home import sections
from coupons.models import Campaign
from events.models import WebhookDelivery
from inventory.models import Product
from orders.models import Saga
from payments.models import Payment, Reconciliation
from sales.models import Sale
from shop import clock
from shop.approval_models import Approval
from shop.db.mysql.patience import statement_limit
from shop.errors import FirstcomeError
from shop.models import LawStatus

log = get_logger(__name__)

SECONDS_FOR_A_STATEMENT = 5
"""The server ends a longer one, and the section says that it can't be read."""


class Section(NamedTuple):
    """A kind of work, shown to those who may view its model, and how it is read."""

    name: str
    title: Promise
    icon: str
    model: type[Model]
    read: Callable[[HttpRequest], sections.Work]


SECTIONS = (
    Section("sagas", _("Sagas that need an operator"), "sync_problem", Saga, sections.stuck_sagas),
    Section("approvals", _("Approvals"), "how_to_reg", Approval, sections.waiting_approvals),
    Section("payments", _("Payments in doubt"), "contact_support", Payment, sections.payments_in_doubt),
    Section("disputes", _("Open disputes"), "gavel", Payment, sections.open_disputes),
    Section(
        "differences",
        _("Differences from the gateway's book"),
        "balance",
        Reconciliation,
        sections.differences,
    ),
    Section("events", _("Dead events"), "unsubscribe", WebhookDelivery, sections.undelivered_events),
    Section("campaigns", _("Running campaigns"), "campaign", Campaign, sections.running_campaigns),
    Section("sales", _("Running sales"), "storefront", Sale, sections.running_sales),
    Section("stock", _("Low stock"), "production_quantity_limits", Product, sections.products_low_on_stock),
    Section("laws", _("Laws"), "gavel", LawStatus, sections.laws),
)


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the page shows, for unfold's index of the admin."""
    shown = list(read_sections(request))
    return context | {
        "title": gettext("Today's work"),
        "sections": shown,
        "to_do": [
            section for section, work in shown if work.state in (sections.State.WORK, sections.State.ALARM)
        ],
        "is_all_read": all(work.state != sections.State.AWAY for _, work in shown),
        "groups": [group for group in context["sidebar_navigation"] if group["items"]],
        "read_at": clock.now(),
    }


def read_sections(request: HttpRequest) -> Iterator[tuple[Section, sections.Work]]:
    """The sections that the account may see; one that can't be read says so, and the others are shown."""
    with statement_limit(connection, seconds=SECONDS_FOR_A_STATEMENT):
        for section in SECTIONS:
            if page_elements.may_view(request, section.model):
                yield _read(section, request)


def _read(section: Section, request: HttpRequest) -> tuple[Section, sections.Work]:
    try:
        return section, section.read(request)
    except (Error, RedisError, FirstcomeError) as error:
        # The page is opened when something is wrong, so one source must not hide the others.
        log.warning("a section of the home page can't be read", section=section.name, error=str(error)[:200])
        if isinstance(error, OperationalError | InterfaceError) and not connection.in_atomic_block:
            # A broken connection would fail all sections after it.
            connection.close_if_unusable_or_obsolete()
        return section._replace(icon="cloud_off"), sections.Work(
            state=sections.State.AWAY,
            note=gettext("It can't be read just now. Load the page again in a moment."),
        )
