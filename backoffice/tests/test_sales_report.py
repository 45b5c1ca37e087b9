"""The report of sales by period adds up to the ledger, and the curve of a campaign's issue to its coupons."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Sum
from django.test import Client
from django.utils import timezone

from accounts.tests.clients import signed_in
from backoffice import periods, sales_page, sales_report, windows
from backoffice.campaign_page import read_curve
from backoffice.periods import Period
from backoffice.sales_report import Figures
from backoffice.tests.test_list_exports import rows_of, text_of
from coupons.models import Campaign, Coupon
from coupons.tests.factories import CampaignFactory, accounts
from foundation import clock
from foundation.tests.factories import AccountFactory, set_columns, staff_member
from foundation.tests.instants import from_now
from foundation.tests.journal_lines import journal_line, times_noted
from foundation.tests.waiting import shifted
from inventory.models import Product, ProductDay
from inventory.tests.factories import ProductFactory
from orders.models import Order, OrderLine, Refund
from orders.payment import refund_records
from orders.saga import run
from orders.tests import buying, stepping
from orders.tests.test_failed_refunds import handle as fail_at_the_gateway
from payments import ledger
from payments.models import GATEWAY_CLEARING, HOLDING, SALES, Entry, Transfer
from payments.tests.factories import PaymentFactory
from payments.tests.sales import credit_top_up

pytestmark = pytest.mark.django_db
PAGE, FIGURES, CSV = (f"/admin/reports/sales/{name}" for name in ("", "figures/", "csv/"))


def figures_of(since: datetime, until: datetime) -> Figures:
    figures = Figures(since, until)
    figures.read()
    return figures


def now() -> datetime:
    return from_now(microseconds=1)


def booked(kind: str, since: datetime, until: datetime, **of) -> int:
    entries = Entry.objects.filter(transfer__kind=kind, transfer__at__gte=since, transfer__at__lt=until, **of)
    return entries.aggregate(sum=Sum("amount"))["sum"] or 0


def assert_adds_up(figures):
    """Each total equals the ledger's, by the report's own reading and by a plain query."""
    assert [check for check in figures.checks() if check.difference_amount] == []
    period = figures.since, figures.until
    total = figures.total()
    whole = sales_page.read_totals(*period)
    assert {name: whole[name] - total[name] for name in sales_page.TOTALS if name != "lost_amount"} == (
        dict.fromkeys([*sales_page.TOTALS][:-1], 0)
    )
    assert total["sales_amount"] == booked("sale", *period, account=SALES)
    assert total["points_amount"] == -booked("sale", *period, account=HOLDING)
    assert total["card_amount"] == -booked("sale", *period, account=GATEWAY_CLEARING)
    assert total["refunded_amount"] == -booked("refund", *period, account=SALES)
    assert total["refunded_points_amount"] == booked("refund", *period, account__gt=0)
    assert total["refunded_card_amount"] == booked("refund", *period, account=GATEWAY_CLEARING)
    kinds = {kind: booked(kind, *period, account__gt=0) for kind in Transfer.Kind}
    assert [amount for _, amount in figures.points()] == [
        kinds[kind] for kind in ("grant", "top_up", "hold", "release", "refund", "forfeit")
    ]
    for sums in (figures.by_product().values(), figures.by_campaign().values()):
        assert sum(amounts["sales_amount"] for amounts in sums) == total["sales_amount"]
        assert sum(amounts["points_amount"] for amounts in sums) == total["points_amount"]
        assert sum(amounts["refunded_points_amount"] for amounts in sums) == total["refunded_points_amount"]


@pytest.fixture
def products(own_gateway, own_data_platform, monkeypatch):
    """With a gateway and a data platform of empty books, and sagas that the test advances."""
    monkeypatch.setattr(run, "process_executor", lambda: stepping.Delegate())
    return [ProductFactory(price=price, on_hand=100) for price in (333, 1_000, 7)]


def buy(products: dict[Product, int], *, points=0, coupon=None) -> Order:
    buyer = buying.account(points=points)
    code = buying.coupon_code(buyer, **coupon) if coupon else ""
    return buying.buy(buyer, products, points=points, coupon=code)


def give_back(order, units: dict[Product, int] | None = None):
    buying.refunded(order, units)


def test_sales_discounts_points_and_refunds_add_up_to_the_ledger_with_all_their_rounding(products):
    tea, cup, pin = products
    since = now()
    percent = {"discount_type": "percent", "discount_value": 33}
    first = buy({tea: 3, cup: 1, pin: 5}, points=101, coupon=percent)
    second = buy({tea: 1, cup: 7, pin: 11}, points=997, coupon={"discount_value": 500})
    third = buy({pin: 1})
    for units in ({tea: 1, pin: 2}, {tea: 1}, {cup: 1}):
        give_back(first, units)
    give_back(second)
    assert buying.broken_laws() == []
    points_payer = buying.account(points=50)
    top_up = PaymentFactory(top_up=True, account=points_payer, card_amount=77)
    with transaction.atomic():
        credit_top_up(payment_id=top_up.pk, user_id=points_payer.pk, amount=77)

    figures = figures_of(since, now())
    assert figures.total()["orders"] == 3
    assert figures.total()["discount_amount"] == first.discount_amount + second.discount_amount > 500
    assert figures.total()["points_amount"] == 1_098
    assert_adds_up(figures)
    campaigns = {Coupon.objects.get(code=order.coupon_code).campaign_id for order in (first, second)}
    assert figures.by_campaign().keys() == campaigns | {None}
    amounts = dict.fromkeys(("items_amount", "sales_amount", "card_amount", "net_amount"), third.total_amount)
    assert figures.by_campaign()[None] == Counter(amounts, orders=1, units=1)
    assert dict(figures.points())["Bought by card (top-ups)"] == 77
    assert all(row["card_amount"] >= 0 and row["refunded_card_amount"] >= 0 for row in figures.rows.values())


def test_the_last_refund_of_an_order_leaves_nothing_of_it(products):
    tea, _, pin = products
    since = now()
    order = buy({tea: 3, pin: 5}, points=101)
    for units in ({tea: 1}, {pin: 2}, None):
        give_back(order, units)
    total = figures_of(since, now()).total()
    assert (total["net_amount"], total["refunded_units"], total["refunded_points_amount"]) == (0, 8, 101)


def test_an_order_that_its_coupon_paid_completely_is_reported_although_the_ledger_has_no_transfer(products):
    since = now()
    order = buy({products[0]: 1}, coupon={"discount_value": 10_000})
    figures = figures_of(since, now())
    assert order.total_amount == 0
    assert (figures.total()["orders"], figures.total()["discount_amount"]) == (1, 333)
    assert not Transfer.objects.filter(kind="sale").exists()
    assert_adds_up(figures)


def test_each_sale_and_refund_is_of_one_period_whose_end_is_not_of_it(products):
    begin = now()
    order = buy({products[1]: 2}, points=100)
    give_back(order, {products[1]: 1})
    order.refresh_from_db()
    refund = Refund.objects.get()
    assert order.paid_at == Transfer.objects.get(kind="sale").at
    assert refund.settled_at == Transfer.objects.get(kind="refund").at

    before = figures_of(begin, order.paid_at)
    sold = figures_of(order.paid_at, refund.settled_at)
    refunded = figures_of(refund.settled_at, now())
    assert before.total() == Counter()
    assert (sold.total()["sales_amount"], sold.total()["refunded_amount"]) == (2_000, 0)
    assert (refunded.total()["sales_amount"], refunded.total()["refunded_amount"]) == (0, 1_000)
    for figures in (before, sold, refunded):
        assert_adds_up(figures)


def test_a_refund_that_failed_comes_back_and_is_refunded_again_by_amount(products):
    """Refunds without units, as those made at the gateway, were missing beside the ledger."""
    since = now()
    order = buy({products[1]: 2, products[2]: 1}, points=101)
    give_back(order)
    refund = Refund.objects.select_related("order").get()
    failed_since = now()
    with transaction.atomic():
        refund_records.take_back(refund.order, refund)
    card_amount = order.total_amount - 101
    failed = figures_of(failed_since, now())
    assert (failed.total()["refunded_amount"], failed.total()["net_amount"]) == (-card_amount, card_amount)
    assert_adds_up(failed)
    give_back(order)
    whole = figures_of(since, now())
    assert (whole.total()["net_amount"], whole.total()["refunded_units"]) == (0, 3)
    assert_adds_up(whole)


def test_what_a_refund_that_failed_owes_is_given_back_with_the_rest(products):
    since = now()
    buyer = buying.account(points=101).pk
    placed = buying.place(buyer, {products[1]: 2, products[2]: 1}, points=101, token="tok_ok")
    order = buying.advance(placed)
    give_back(order, {products[1]: 1})
    fail_at_the_gateway(placed)
    give_back(order)
    whole = figures_of(since, now())
    assert (whole.total()["net_amount"], whole.total()["refunded_units"]) == (0, 3)
    assert_adds_up(whole)


def test_orders_that_are_unpaid_or_failed_are_not_sales(products):
    since = now()
    buyer = buying.account(points=10)
    buying.place(buyer, products[0])
    buying.buy(buyer, products[0], points=10, token="tok_declined")
    figures = figures_of(since, now())
    assert figures.total() == Counter()
    assert_adds_up(figures)


def rows_by_hand(count: int, *, at: datetime):
    """Paid orders of this many instants, a second apart, by rows alone; two in a row share an instant."""
    buyer, tea, pin = AccountFactory(), *ProductFactory.create_batch(2)
    with transaction.atomic():
        ledger.bulk_open_wallets([buyer.pk], 0)
    for number in range(count):
        paid_at = at + timedelta(seconds=number // 2)
        order = Order.objects.create(
            account=buyer, status="paid", items_amount=30 + number, card_amount=30 + number,
            total_amount=30 + number, units=2, currency="KRW", placed_at=at, expires_at=at, paid_at=paid_at,
        )  # fmt: skip
        for product, amount in ((tea, 10), (pin, 20 + number)):
            OrderLine.objects.create(
                order=order, product=product, sku="S", name="N", quantity=1, unit_price=amount,
                line_amount=amount,
            )  # fmt: skip
        with transaction.atomic():
            ledger.settle_sales([order], at=paid_at)


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_figures_are_the_same_whatever_the_windows(monkeypatch, rows):
    since = datetime(2026, 1, 1, tzinfo=UTC)
    rows_by_hand(9, at=since)
    monkeypatch.setattr(windows.between, "__kwdefaults__", {"rows": rows})
    figures = figures_of(since, since + timedelta(days=1))
    assert (figures.total()["orders"], figures.total()["sales_amount"]) == (9, 9 * 30 + 36)
    assert_adds_up(figures)


def test_the_page_shows_the_figures_and_whether_they_agree_with_the_ledger(products, operator):
    order = buy({products[1]: 2}, coupon={"discount_value": 500})
    today = order.paid_at.date().isoformat()
    page = operator.get(f"{PAGE}?since={today}&through={today}").text
    assert f"{FIGURES}?since={today}&amp;through={today}" in page
    assert Client().get(PAGE).status_code == 302
    assert "Time zone: UTC." in page
    with shifted(minutes=2):
        figures = text_of(operator.get(f"{FIGURES}?since={today}&through={today}"))
        set_columns(order, paid_at=order.paid_at - timedelta(days=40))
        wrong = text_of(operator.get(f"{FIGURES}?since={today}&through={today}"))
    assert "1,500 KRW" in figures and "Every total agrees" in figures
    assert products[1].sku in figures and "Without a coupon" not in figures
    assert "A total differs from the ledger" in wrong and "Every total agrees" not in wrong


def test_the_csv_has_a_row_for_each_product_and_campaign_and_is_journaled(products, operator):
    order = buy(
        {products[0]: 1, products[1]: 1}, points=100, coupon={"name": "=Spring", "discount_value": 333}
    )
    today = order.paid_at.date().isoformat()
    with shifted(minutes=2):
        rows = rows_of(operator.get(f"{CSV}?since={today}&through={today}"))
    assert [row["campaign_name"] for row in rows] == ["'=Spring"] * 2
    assert sum(int(row["sales_amount"]) for row in rows) == order.total_amount
    assert sum(int(row["points_amount"]) for row in rows) == 100
    assert {row["currency"] for row in rows} == {"KRW"}
    line = journal_line("report.exported")
    assert (line.actor_name, line.after) == ("ada", {"since": today, "through": today})


def test_the_report_has_what_was_lost(products, operator):
    today = clock.today()
    ProductDay.objects.create(day=today, product=products[1], lost_amount=1_234, lost_sold_out=3)
    with clock.shifted(by=timedelta(minutes=2)):
        figures = figures_of(*clock.day_bounds(today))
        page = text_of(operator.get(f"{FIGURES}?since={today}&through={today}"))
    assert (figures.lost["lost_amount"], figures.lost["lost_sold_out"]) == (1_234, 3)
    assert "1,234 KRW" in page
    yesterday = figures_of(*clock.day_bounds(today - timedelta(days=1)))
    assert not yesterday.lost["lost_amount"]


def number_in(cell: str) -> int:
    return int(cell.replace(",", "").removesuffix(" KRW"))


def page_of(period) -> dict[str, Any]:
    with clock.shifted(by=timedelta(minutes=2)):
        form = sales_report.PeriodForm({"since": period.since, "through": period.through})
        assert form.is_valid()
        return sales_page.read_page(sales_report.figures_of(form), period)


def summary_of(period) -> dict[str, list[int]]:
    return {str(name): [*map(number_in, cells[:2])] for name, *cells in page_of(period)["summary"]}


def test_the_rows_of_each_table_add_up_to_its_last_one_also_where_some_are_left_out(products, monkeypatch):
    monkeypatch.setattr(sales_page, "ROWS_SHOWN", 1)
    order = buy({products[0]: 3, products[1]: 1}, points=101, coupon={"discount_value": 333})
    buy({products[2]: 2})
    give_back(order, {products[0]: 1})
    today = clock.today()
    for product, amount in zip(products, (500, 7_000, 9), strict=True):
        lost = {"lost_amount": amount, "lost_units": amount // 3, "lost_sold_out": 2, "lost_declined": 1}
        ProductDay.objects.update_or_create(day=today, product=product, defaults=lost)

    page = page_of(Period(today, today))

    for name in ("campaigns", "products", "lost_products"):
        rows, total = page[name]
        assert len(rows) == 2, name
        columns = zip(*(cells for _name, _link, cells in rows), strict=True)
        assert [sum(map(number_in, column)) for column in columns] == [*map(number_in, total)], name
    assert page["accounts"] == sum(count for _, count, _ in page["causes"]) == 9
    assert page["lost_products"][0][0][0] == f"{products[1].sku} {products[1].name}"
    summary = {name: now for name, (now, _before) in summary_of(Period(today, today)).items()}
    assert summary["Before discounts"] - summary["− Discounts"] == summary["= Sales"] > 0
    assert summary["of them paid with points"] + summary["of them paid by card"] == summary["= Sales"]
    assert summary["= Sales"] - summary["− Refunds"] == summary["= Sales less refunds"]
    assert summary["Lost sales (not included)"] == 7_509


def test_a_period_is_beside_the_one_before_up_to_the_same_time(products):
    today = clock.today()
    since, _ = clock.day_bounds(today - timedelta(days=1))
    for units, paid_at in (
        (1, None),
        (2, since),
        (4, now() - timedelta(hours=23)),
        (8, since - timedelta(hours=1)),
    ):
        order = buy({products[1]: units})
        if paid_at:
            set_columns(order, paid_at=paid_at)
    assert summary_of(Period(today, today))["Units sold"] == [1, 2]
    assert sales_page.change_text(3, 2) == "+50%" and sales_page.change_text(1, 4) == "−75%"
    assert sales_page.change_text(30, 2) == "×15" and sales_page.change_text(3, 0) == ""


@pytest.mark.parametrize(
    ("since", "through", "before"),
    [
        ("2026-03-01", "2026-03-31", ("2026-02-01", "2026-02-28")),
        ("2026-03-01", "2026-03-30", ("2026-02-01", "2026-02-28")),
        ("2026-03-01", "2026-03-10", ("2026-02-01", "2026-02-10")),
        ("2026-03-01", "2026-03-01", ("2026-02-28", "2026-02-28")),
        ("2026-03-02", "2026-03-08", ("2026-02-23", "2026-03-01")),
        ("2026-01-01", "2026-02-28", ("2025-11-03", "2025-12-31")),
    ],
)
def test_the_period_before_is_as_long_or_the_month_before(since, through, before):
    found = periods.before(Period(date.fromisoformat(since), date.fromisoformat(through)))
    assert tuple(map(str, found)) == before


def test_the_bars_of_the_plot_add_up_to_the_sales_and_are_of_four_weeks_at_least(products, monkeypatch):
    buy({products[1]: 3})
    today = clock.today()
    for since, bars in ((today, 28), (today - timedelta(days=30), 31)):
        found = page_of(Period(since, today))["bars"]
        assert (len(found), found[-1], sum(amount for _, amount, _ in found)) == (
            bars,
            (today, 3_000, "3,000 KRW"),
            3_000,
        )
    # What is not counted yet is in no part of the page, which counts whole minutes.
    monkeypatch.setattr(sales_report, "MARGIN", timedelta(minutes=9))
    shown = page_of(Period(today, today))
    assert (shown["bars"][-1][1], shown["until"].second) == (0, 0)


@pytest.mark.parametrize("zone", ["Asia/Seoul", "America/New_York"])
def test_days_of_the_report_are_the_shops(settings, operator, zone):
    settings.SHOP_TIME_ZONE = zone
    page = operator.get(f"{PAGE}?since=2026-11-01&through=2026-11-01")
    assert f"Both days are included. Time zone: {zone}." in page.text
    found = sales_report.figures_of(page.context["form"])
    assert (found.since, found.until) == clock.day_bounds(date(2026, 11, 1))
    # In New York that day has 25 hours.
    hours = {"Asia/Seoul": 24, "America/New_York": 25}[zone]
    assert found.until - found.since == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("since=2026-02-30&through=2026-03-01", "Enter a valid date"),
        ("since=&through=", "required"),
        ("since=2026-02-02&through=2026-02-01", "The last day is before the first"),
        ("since=2024-01-01&through=2025-12-31", "at most 366 days"),
    ],
)
def test_a_period_that_makes_no_sense_is_refused(query, message, operator):
    assert message in operator.get(f"{PAGE}?{query}").text
    for address in (FIGURES, CSV):
        refused = operator.get(f"{address}?{query}")
        assert refused.status_code == 400 and message in refused.json()["detail"]
    assert not times_noted("report.exported")


def test_a_campaigns_results_are_its_paid_orders(products, operator):
    _, cup, _ = products
    campaign = CampaignFactory()
    order = buy({cup: 2}, points=100, coupon={"discount_value": 300, "name": "Spring"})
    give_back(order, {cup: 1})
    used = Coupon.objects.get(code=order.coupon_code).campaign
    page = operator.get(f"/admin/campaigns/{used.pk}/").text
    assert "Results of Spring" in page and "<svg" in page
    text = text_of(operator.get(f"/admin/campaigns/{used.pk}/figures/"))
    for amount in ("2,000 KRW", "300 KRW", "1,700 KRW", "100 KRW", "850 KRW"):
        assert amount in text
    assert "No coupon has been issued yet" in operator.get(f"/admin/campaigns/{campaign.pk}/").text
    assert operator.get("/admin/campaigns/999999/").status_code == 404
    viewer = signed_in(staff_member("coupons.view_campaign"))
    assert viewer.get(f"/admin/campaigns/{used.pk}/").status_code == 403
    assert viewer.get(f"/admin/campaigns/{used.pk}/figures/").status_code == 403


OPENING = timezone.now().replace(microsecond=0) - timedelta(hours=5)


def issued(*seconds: int, **columns) -> Campaign:
    """A campaign that issued a coupon at each of these seconds after its opening."""
    campaign: Campaign = CampaignFactory(
        opens_at=OPENING, quantity=max(1, len(seconds)), issued=len(seconds), **columns
    )
    owners = zip(accounts(len(seconds)), seconds, strict=True)
    for position, (owner, second) in enumerate(owners, start=1):
        at = OPENING + timedelta(seconds=second)
        times = {"issued_at": at, "expires_at": at + timedelta(days=30)}
        campaign.coupons.create(
            account_id=owner, code=f"C-{campaign.pk}-{position}", position=position, **times
        )
    return campaign


def test_the_curve_of_a_campaign_is_of_a_hundred_of_its_coupons_and_its_last():
    assert read_curve(issued(61, 119, 120)) == [
        (OPENING + timedelta(seconds=second), position) for position, second in enumerate((61, 119, 120), 1)
    ]
    long = read_curve(issued(*range(250)))
    assert [position for _, position in long] == [*range(1, 250, 3), 250]
    # A campaign without coupons has no curve.
    assert not read_curve(CampaignFactory())
    unsafe = issued(1, 2)
    Coupon.objects.filter(campaign=unsafe).update(position=None)
    assert not read_curve(unsafe)
