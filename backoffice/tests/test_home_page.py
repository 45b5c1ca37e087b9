"""The admin's home page: what it says of today's work, to whom, by how many statements and which indexes."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.tests.clients import signed_in
from backoffice import navigation
from backoffice.home import page as home_page, today
from backoffice.home.page import State, Work
from backoffice.tests.test_sales_report import buy, give_back, products
from coupons.tests.factories import CampaignFactory, coupon_of
from events.tests.delivering import dead, logged
from foundation import clock
from foundation.approval_models import Approval
from foundation.models import LawStatus
from foundation.operations.audits.laws import LAWS
from foundation.tests import servers
from foundation.tests.factories import AccountFactory, SuperuserFactory, set_columns
from foundation.tests.instants import ago
from foundation.tests.plans import assert_read_by_index
from foundation.tests.second_connection import connection_id, kill
from foundation.tests.staff_groups import member_of
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order, Saga
from payments.models import Payment, Reconciliation
from payments.tests import granting
from payments.tests.factories import PaymentFactory
from sales.tests.factories import create_sale

__all__ = ["products"]
pytestmark = pytest.mark.django_db
TO_DO = ["sagas", "approvals", "payments", "disputes", "differences", "events"]
EVERYTHING = [*TO_DO, "campaigns", "sales", "stock", "laws"]
OF_GROUP = {
    "Viewer": ["sagas", "differences", "campaigns", "sales", "stock", "laws"],
    "Support": ["sagas", "payments", "disputes", "events", "campaigns", "sales", "stock"],
    "Operations": EVERYTHING,
    "Finance": EVERYTHING,
    "": [],
}
TASKS = [
    "Today",
    "Launch board",
    "Orders",
    "Customers",
    "Campaigns",
    "Sale events",
    "Products",
    "Sales report",
    "Exports",
    "Who did what",
]


def opened(user: User):
    page = signed_in(user).get("/admin/")
    assert page.status_code == 200
    return page


def sections_of(page) -> dict[str, Work]:
    return {section.name: work for section, work in page.context["sections"]}


def section(name: str) -> Work:
    return sections_of(opened(SuperuserFactory()))[name]


def saga(**columns) -> Saga:
    now = timezone.now()
    values = {"kind": "purchase", "subject_id": uuid4(), "about_id": uuid4(), "created_at": now}
    values |= {"deadline_at": now + timedelta(hours=1), "next_attempt_at": now}
    return Saga.objects.create(**values | columns)


def in_doubt(**columns) -> Payment:
    payment: Payment = PaymentFactory(status=Payment.Status.IN_DOUBT, **columns)
    saga(subject_id=payment.pk)
    return payment


def compared(*findings: dict[str, str], **columns) -> Reconciliation:
    at = timezone.now()
    values = {"started_at": at, "ended_at": at, "checked": 9, "differences": len(findings), "refunded": 0}
    return Reconciliation.objects.create(**values | {"findings": list(findings)} | columns)


def finding(key: str, done="") -> dict[str, Any]:
    cause = f"the gateway has no charge {key}"
    said = {"cause": cause, "text": cause, "values": {}}
    return {"key": key, "kind": "not_charged", "done": done, **said}


def test_the_work_of_each_section_is_counted_and_the_most_urgent_row_is_the_first():
    now = timezone.now()
    late = saga(deadline_at=now - timedelta(hours=3), state="stuck", attempts=4, last_error="no reply")
    saga(deadline_at=now - timedelta(minutes=2))
    old = in_doubt(created_at=now - timedelta(minutes=40))
    in_doubt()
    PaymentFactory()
    for sku, threshold in (("A", 1), ("B", 50), ("C", 0)):
        ProductFactory(sku=sku, on_hand=1, low_stock_threshold=threshold)
    ProductFactory(sku="D", on_hand=1, low_stock_threshold=5, is_active=False)
    CampaignFactory(name="Plenty")
    CampaignFactory(name="Paused", paused_at=now - timedelta(minutes=5))
    CampaignFactory(issued=99)
    CampaignFactory(closed=True)
    CampaignFactory(scheduled=True)
    logged("failed", number=1_005)
    granting.asked_for(granting.granter(), AccountFactory())

    shown = sections_of(opened(SuperuserFactory()))

    html = opened(SuperuserFactory()).text
    assert html.index('id="stock"') < html.index('id="figures-title"') < html.index('class="fc-menu"')
    for name, number, state, rows, first in (
        ("sagas", "2", State.ALARM, 2, f'href="/admin/orders/saga/{late.pk}/change/"'),
        ("payments", "2", State.WORK, 2, str(old.pk)),
        ("stock", "2", State.WORK, 2, ">B"),
        ("campaigns", "3", State.WORK, 3, "Paused"),
        ("events", "1,000+", State.WORK, 5, ""),
        ("approvals", "1", State.WORK, 1, ""),
    ):
        assert (shown[name].number, shown[name].state, len(shown[name].rows)) == (number, state, rows), name
        assert first in shown[name].rows[0].link


def test_a_difference_that_both_comparisons_found_is_counted_once_and_a_refunded_one_never():
    compared(finding("a"), finding("b"))
    compared(finding("b"), finding("c", "refunded"), finding("d", "agrees"), since_at=timezone.now())

    shown = section("differences")

    assert (shown.number, shown.state, len(shown.rows)) == ("2", State.ALARM, 2)
    assert "the gateway has no charge" in shown.rows[0].detail


def test_a_campaign_for_everybody_is_before_those_that_are_sold_out():
    coupon_of(CampaignFactory(name="Gone", quantity=1))
    coupon_of(CampaignFactory(name="Everybody", quantity=None))
    coupon_of(CampaignFactory(name="Few", quantity=2))

    shown = str(section("campaigns").rows)

    assert shown.index("Few") < shown.index("Everybody") < shown.index("Gone")
    assert "1 left of 2" in shown and "for everybody, 1 issued" in shown


def test_open_disputes_are_work_and_the_one_due_first_comes_first():
    payment, now = PaymentFactory(), timezone.now()
    for days, status, closed_at in ((5, "open", None), (2, "open", None), (1, "won", now)):
        dispute = {"reference": f"dp_{days}", "status": status, "amount": 100 * days, "closed_at": closed_at}
        payment.disputes.create(due_at=now + timedelta(days=days), opened_at=now, **dispute)

    shown = section("disputes")

    assert (shown.number, shown.state, shown.unit) == ("2", State.WORK, "charges are disputed")
    assert [row.detail.split(" ")[0] for row in shown.rows] == ["200", "500"]


def test_a_broken_law_is_an_alarm_and_an_old_answer_is_work():
    now, offenders = timezone.now(), {"L4": ["product 7", "product 9"]}
    for law in LAWS:
        found = {"holds": law not in offenders, "offenders": offenders.get(law, [])}
        LawStatus.objects.create(law=law, since=now, checked_at=now, full_at=now, **found)

    broken = section("laws")
    LawStatus.objects.update(holds=True, offenders=[], checked_at=ago(hours=2))
    old = section("laws")
    LawStatus.objects.filter(law="L9").delete()
    unknown = section("laws")

    assert (broken.number, broken.state) == ("1", State.ALARM)
    assert LAWS["L4"] in broken.rows[0].detail and "2 rows break it" in broken.rows[0].detail
    assert old.state == State.WORK and "2 hours old, which is too old" in old.note
    assert "Not checked yet: L9." in unknown.note


@pytest.mark.usefixtures("_staff_groups")
@pytest.mark.parametrize("group", OF_GROUP)
def test_a_section_is_shown_to_the_groups_that_may_see_its_rows(group):
    payment = in_doubt()
    dead(error="410 Gone with order 99")
    compared(finding("the-key"))

    page = opened(member_of(group))

    assert list(sections_of(page)) == OF_GROUP[group]
    html = page.text
    assert (str(payment.pk) in html) == ("payments" in OF_GROUP[group])
    assert ("order 99" in html) == ("events" in OF_GROUP[group])
    assert ("the-key" in html) == ("differences" in OF_GROUP[group])
    if not group:
        assert "Ask a superuser to add it to a group" in html


def without_differences(execute: Callable[..., Any], sql: str, *rest):
    """Fails each statement that reads the table of comparisons, as one that is being repaired does."""
    if "payments_reconciliation" in sql:
        raise OperationalError(1194, "Table 'payments_reconciliation' is marked as crashed")
    return execute(sql, *rest)


def test_a_section_that_cannot_be_read_says_so_and_the_others_are_shown():
    saga(state="stuck")
    with connection.execute_wrapper(without_differences):
        page = opened(SuperuserFactory())

    states = {name: work.state for name, work in sections_of(page).items()}
    assert states["differences"] == State.AWAY and states["sagas"] == State.ALARM
    html = page.text
    assert "It can&#x27;t be read just now" in html
    assert "Differences from the gateway&#x27;s book" in html


def states_of_sections(user: User) -> dict[str, State]:
    request = RequestFactory().get("/admin/")
    request.user = user
    return {section.name: work.state for section, work in home_page.read_sections(request)}


@pytest.mark.django_db(transaction=True)
def test_before_the_first_section_a_lost_connection_costs_none_and_a_database_that_is_away_not_the_page(
    monkeypatch, tmp_path
):
    user = SuperuserFactory()
    kill(connection_id())

    states = states_of_sections(user)

    assert states.keys() == {section.name for section in home_page.SECTIONS}
    assert State.AWAY not in states.values()
    assert servers.statement_limit_seconds() == 0

    kill(connection_id())
    with monkeypatch.context() as away:
        options = connection.settings_dict["OPTIONS"] | {"unix_socket": str(tmp_path / "away.sock")}
        away.setitem(connection.settings_dict, "OPTIONS", options)
        assert set(states_of_sections(user).values()) == {State.AWAY}

    assert State.AWAY not in states_of_sections(user).values()


def settled_payments(number: int):
    """Payments of one account, for tests that need many."""
    now, account = timezone.now(), AccountFactory()
    columns = {"status": "succeeded", "card_amount": 1, "currency": "KRW", "account": account}
    columns |= {"created_at": now, "settled_at": now}
    Payment.objects.bulk_create(
        Payment(id=(id := uuid7()), charge_key=f"k-{id}", charge_reference=f"ch_{id}", **columns)
        for _ in range(number)
    )


def earlier_orders(number: int):
    """Orders of one account that were paid a month ago."""
    at, account = ago(days=30), AccountFactory()
    columns = dict.fromkeys(("items_amount", "total_amount", "card_amount"), 5)
    columns |= dict.fromkeys(("placed_at", "expires_at", "paid_at"), at)
    columns |= {"status": "paid", "units": 1, "currency": "KRW", "account": account}
    Order.objects.bulk_create(Order(id=uuid7(), **columns) for _ in range(number))


def test_every_statement_is_answered_by_an_index():
    """But for campaigns, laws and comparisons, whose tables stay small."""
    now = timezone.now()
    ended = {"kind": "purchase", "state": "done", "created_at": now, "deadline_at": now, "ended_at": now}
    Saga.objects.bulk_create(Saga(id=uuid7(), subject_id=uuid4(), **ended) for _ in range(2_000))
    logged("delivered", number=2_000, delivered_at=now)
    Product.objects.bulk_create(Product(sku=f"P-{number}", name="P", price=1) for number in range(2_000))
    settled_payments(2_000)
    earlier_orders(2_000)
    saga(state="stuck")
    in_doubt()
    dead()
    ProductFactory(on_hand=1, low_stock_threshold=2)
    CampaignFactory()
    wanted = {"kind": "points.grant", "subject": "wallet 7", "arguments": {"user": 7, "amount": 5}}
    Approval.objects.create(**wanted, asker_name="ada", reason="late delivery", asked_at=now)
    user = SuperuserFactory()
    with CaptureQueriesContext(connection) as captured:
        opened(user)

    tables = (
        "`orders_order`.`paid_at`",
        "orders_saga",
        "events_webhookdelivery",
        "inventory_product",
        "payments_payment",
    )
    statements = [query["sql"] for query in captured if any(table in query["sql"] for table in tables)]
    assert len(statements) >= 10
    for statement in statements:
        assert_read_by_index(statement)


def test_every_model_of_the_admin_is_in_one_line_of_the_menu_or_in_the_engine_room():
    lines = [line for group in navigation.MENU.values() for line in group if not line.page]
    named = [label for line in lines for label in line.lists.split()]
    named += [*" ".join(navigation.ENGINE_ROOM.values()).split(), *navigation.FOR_ENGINEERS]
    assert len(named) == len(set(named))
    assert set(named) == {model._meta.label_lower for model in admin.site._registry}


MENUS = {
    "Viewer": [*TASKS[:3], *TASKS[4:7], "Engine room"],
    "Support": [*TASKS[:7], "Sales report", "Who did what", "Engine room"],
    "Operations": [*TASKS[:3], *TASKS[4:7], "Who did what", "Engine room"],
    "Finance": [*TASKS[:10], "Engine room"],
    "": ["Today"],
    "superuser": [*TASKS[:9], "Members", "Who did what", "Engine room"],
}


@pytest.mark.usefixtures("_staff_groups")
@pytest.mark.parametrize("group", MENUS)
def test_the_menu_has_twelve_lines_at_most_and_home_repeats_none_of_them(group):
    user = SuperuserFactory() if group == "superuser" else member_of(group)
    client = signed_in(user)
    page = client.get("/admin/")
    menu = [item for group in page.context["sidebar_navigation"] for item in group["items"]]
    lines = [str(item["title"]) for item in menu]
    assert lines == MENUS[group] and len(lines) <= 12
    listed = page.text[page.text.index('id="nav-sidebar-apps"') :]
    assert listed[: listed.index("</nav>")].count("<li>") == len(lines)
    for item in menu:
        opened = client.get(item["link"])
        assert opened.status_code == 200
        assert re.search(rf"<title>\s*{item['title']}\s", opened.text)
    addresses = "".join(link for _, work in page.context["sections"] for link in work.links)
    assert not [item for item in menu if f'href="{item["link"]}"' in addresses]


def test_a_list_has_the_other_lists_of_its_task_as_tabs_and_the_engine_room_has_the_rest():
    client = signed_in(SuperuserFactory())
    page = client.get("/admin/payments/payment/").text
    assert 'href="/admin/orders/refund/"' in page
    room = client.get("/admin/engine-room/")
    assert [str(title) for title, _ in room.context["groups"]] == [*map(str, navigation.ENGINE_ROOM)]
    assert "/admin/orders/sagalog/" in room.text and client.get("/admin/").text.count("/sagalog/") == 0


@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/New_York"])
def test_today_is_beside_yesterday_up_to_the_same_time_by_the_shops_days(settings, zone, products):
    settings.SHOP_TIME_ZONE = zone
    (since, _), (begin, then) = today.spans()
    assert clock.day_bounds(clock.today())[0] == since and begin < then < since
    at = {since: 1, then - timedelta(seconds=1): 2, then + timedelta(seconds=60): 4, begin: 8}
    tea = products[0]
    for paid_at, units in at.items():
        set_columns(buy({tea: units}), paid_at=paid_at)
        set_columns(coupon_of(CampaignFactory()), issued_at=paid_at)
    price = tea.price
    order = buy({tea: 1})
    give_back(order)

    figures = opened(SuperuserFactory()).context["figures"]

    assert figures == {
        "orders": ["2", "2", "+0%"],
        "sales_amount": [f"{2 * price:,} KRW", f"{10 * price:,} KRW", "−80%"],
        "coupons": ["1", "2", "−50%"],
        "refunded_amount": [f"{price:,} KRW", "0 KRW", ""],
    }


def test_what_opens_next_is_shown_with_its_instant_in_the_shops_zone(settings):
    settings.SHOP_TIME_ZONE = "Asia/Seoul"
    at = timezone.now().replace(hour=1, minute=0, second=0, microsecond=0) + timedelta(days=2)
    create_sale(name="Night", opens_at=at, closes_at=at + timedelta(hours=1))
    CampaignFactory(name="Later", opens_at=at + timedelta(days=1))
    CampaignFactory(name="Open")
    page = opened(SuperuserFactory())
    assert [row.name for row, _ in page.context["openings"]] == ["Night", "Later"]
    assert f"{at:%Y-%m-%d} 10:00 Asia/Seoul" in page.text
    assert opened(member_of("")).context["openings"] == []


def test_a_fresh_shop_has_nothing_to_do_and_what_never_ran_is_work_once_it_is_due():
    rows = MigrationRecorder.Migration.objects
    rows.update(applied=timezone.now())
    fresh = opened(SuperuserFactory())
    assert fresh.context["to_do"] == [] and "Nothing to do." in fresh.text
    assert sections_of(fresh)["laws"].state == sections_of(fresh)["differences"].state == State.WAITING
    rows.update(applied=ago(hours=1))
    assert section("laws").state == section("differences").state == State.WORK


@pytest.mark.parametrize(
    ("late_seconds", "state", "shown"),
    [
        (20, "running", State.WAITING),
        (30, "stuck", State.WAITING),
        (300, "stuck", State.WORK),
        (900, "stuck", State.ALARM),
        (900, "running", State.ALARM),
        (-60, "stuck", State.ALARM),
    ],
)
def test_a_silent_gateway_is_red_only_once_the_shop_can_do_no_more(late_seconds, state, shown):
    saga(deadline_at=ago(seconds=late_seconds), state=state)
    in_doubt(created_at=ago(seconds=late_seconds))
    assert section("sagas").state == shown
    assert section("payments").state == (State.WORK if late_seconds > 120 else State.WAITING)


def test_a_difference_that_the_next_comparison_resolves_is_no_alarm():
    compared(finding("a") | {"kind": "disputed"})
    assert section("differences").state == State.WORK
