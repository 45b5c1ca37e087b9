"""The home page: which sections an account sees, and the models below them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.db import Error, InterfaceError, OperationalError, connection
from django.db.models import Model
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from redis.exceptions import RedisError
from structlog import get_logger

from coupons.models import Campaign
from inventory.models import Product
from orders.models import Saga
from payments.models import Payment, Reconciliation
from sales.models import Sale
from shop import clock
from shop.approval_models import Approval
from shop.backoffice import page_elements
from shop.backoffice.home import events_and_sagas, goods, laws, money
from shop.backoffice.home.parts import Section, State
from shop.db.mysql.patience import statement_limit
from shop.errors import FirstcomeError
from shop.models import JournalLine, LawStatus

log = get_logger(__name__)

SECONDS_FOR_A_STATEMENT = 5
"""The server ends a longer one, and the section says that it can't be read."""


class Source(NamedTuple):
    """A section, shown to those who may view its model; its title is shown where it can't be read."""

    name: str
    title: Promise
    model: type[Model]
    read: Callable[[HttpRequest], Section]


SOURCES = (
    Source("sagas", _("Sagas that need an operator"), Saga, events_and_sagas.stuck_sagas),
    Source("approvals", _("Approvals"), Approval, events_and_sagas.waiting_approvals),
    Source("payments", _("Payments in doubt"), Payment, money.payments_in_doubt),
    Source("disputes", _("Open disputes"), Payment, money.open_disputes),
    Source("differences", _("Differences from the gateway's book"), Reconciliation, money.differences),
    Source("events", _("Dead events"), JournalLine, events_and_sagas.dead_events_section),
    Source("campaigns", _("Running campaigns"), Campaign, goods.running_campaigns),
    Source("sales", _("Running sales"), Sale, goods.running_sales),
    Source("stock", _("Low stock"), Product, goods.products_low_on_stock),
    Source("laws", _("Laws"), LawStatus, laws.laws),
)


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the page shows, for unfold's index of the admin."""
    sections = list(read_sections(request))
    return context | {
        "title": gettext("Today's work"),
        "sections": sections,
        "work": [section for section in sections if section.needs_work],
        "is_all_read": all(section.state != State.AWAY for section in sections),
        "groups": [group for group in context["sidebar_navigation"] if group["items"]],
        "read_at": clock.now(),
    }


def read_sections(request: HttpRequest) -> Iterator[Section]:
    """The sections that the account may see; one that can't be read says so, and the others are shown."""
    with statement_limit(connection, seconds=SECONDS_FOR_A_STATEMENT):
        for source in SOURCES:
            if page_elements.may_view(request, source.model):
                yield _read(source, request)


def _read(source: Source, request: HttpRequest) -> Section:
    try:
        return source.read(request)
    except (Error, RedisError, FirstcomeError) as error:
        # The page is opened when something is wrong, so one source must not hide the others.
        log.warning("a section of the home page can't be read", section=source.name, error=str(error)[:200])
        if isinstance(error, OperationalError | InterfaceError) and not connection.in_atomic_block:
            # A broken connection would fail all sections after it.
            connection.close_if_unusable_or_obsolete()
        return Section(
            name=source.name,
            title=str(source.title),
            icon="cloud_off",
            state=State.AWAY,
            note=gettext("It can't be read just now. Load the page again in a moment."),
        )
