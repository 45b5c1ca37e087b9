"""Filters of the lists: what each finds, and that it reads a page's rows however many rows there are."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from accounts.tests.api_keys import client_with
from accounts.tests.clients import client_of, faults, new_superuser, problem_of, signed_in
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory, coupon_of
from foundation import clock
from foundation.http.pagination import ROWS_AT_ONCE
from foundation.tests.factories import AccountFactory, SuperuserFactory, set_columns, staff_member
from foundation.tests.instants import ago, from_now
from foundation.tests.second_connection import ask
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import buying
from sales.models import Sale
from sales.tests.factories import create_sale

ROWS = [30_000, pytest.param(1_000_000, marks=pytest.mark.long)]
"""More than a bounded page looks at; and as many as a shop has after years."""
DIGIT = " UNION ALL ".join(f"SELECT {digit} AS n" for digit in range(10))
PLACES = range(6)
SUM = " + ".join(f"d{place}.n * {10**place}" for place in PLACES)
NUMBERS = f"(SELECT {SUM} AS n FROM {', '.join(f'({DIGIT}) AS d{place}' for place in PLACES)}) AS numbers"  # noqa: S608
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PAGE_READS = 1_500
"""More than the rows of a page of 50 with theirs in other tables, and far below those of any table here."""
ROWS_A_STATEMENT = 50_000
FILLED = [
    *("orders_orderline", "orders_order", "coupons_coupon", "coupons_campaign", "payments_payment"),
    *("sales_sale", "inventory_product", "auth_user"),
]
BOUNDED_READS = PAGE_READS + 3 * ROWS_AT_ONCE
ACCOUNTS = 100
"""That have orders and payments: the list of one reads its own rows."""


def fill(table: str, rows: int, **columns: str):
    """Insert so many rows, numbered by `n` from 0, whose columns are these expressions."""
    names, values = ", ".join(f"`{name}`" for name in columns), ", ".join(columns.values())
    insert = f"INSERT INTO {table} ({names}) SELECT {values} FROM {NUMBERS} WHERE n >= %s AND n < %s"  # noqa: S608
    with connection.cursor() as cursor:
        # No statement may take as long as one that hangs.
        for first in range(0, rows, ROWS_A_STATEMENT):
            cursor.execute(insert, [first, min(rows, first + ROWS_A_STATEMENT)])
        cursor.execute(f"ANALYZE TABLE {table}")


def id_of(kind: int) -> str:
    """A UUIDv7 of the row with the number `n`."""
    front = f"0189000{kind}-0000-7000-8000-"
    if not connection.features.has_native_uuid_field:
        front = front.replace("-", "")
    return f"CONCAT('{front}', LPAD(LOWER(HEX(n)), 12, '0'))"


def at(expression: str) -> str:
    """An instant so many seconds after noon of the first of January."""
    return f"TIMESTAMP('{NOON:%Y-%m-%d %H:%M:%S}') + INTERVAL {expression} SECOND"


def reads_of(api, path: str) -> tuple[list[Any], int]:
    """The rows of a page, and how many rows of tables the server read for them."""
    ask(connection, "FLUSH STATUS")
    answer = api.get(path)
    counts = dict(ask(connection, "SHOW SESSION STATUS LIKE 'Handler\\_read\\_%%'"))
    assert answer.status_code == 200, (path, answer.content)
    return answer.json()["results"], sum(map(int, counts.values()))


def check(api, path: str, cases: dict[str, int], *, most: int = PAGE_READS):
    """The list by each query has so many rows on its page, and reads no more than a page's rows."""
    wrong = []
    for query, expected in cases.items():
        found, reads = reads_of(api, f"{path}{query}")
        if len(found) != expected or reads > most:
            wrong.append(f"{path}{query}: {len(found)} rows, {reads} read")
    assert not wrong, "\n".join(wrong)


def check_pages(path: str):
    """The operators' list by each choice of its filters, and its last page, read a part of its table."""
    operator = signed_in(SuperuserFactory())
    shown = operator.get(path).context["cl"]
    choices = [choice for one in shown.filter_specs for choice in one.choices(shown)]
    queries = dict.fromkeys(["?", "?p=last", *(choice.get("query_string", "?") for choice in choices)])
    wrong = []
    for query in queries:
        ask(connection, "FLUSH STATUS")
        answer = operator.get(f"{path}{query}")
        counts = dict(ask(connection, "SHOW SESSION STATUS LIKE 'Handler\\_read\\_%%'"))
        if answer.status_code != 200 or (reads := sum(map(int, counts.values()))) > BOUNDED_READS:
            wrong.append(f"{path}{query}: {answer.status_code}, {reads} read")
    assert not wrong, "\n".join(wrong)


def all_rows(api, path: str | None):
    """The rows of this page and of those that follow it."""
    while path:
        page = api.read(path)
        yield from page["results"]
        path = page["next"]


@pytest.fixture
def accounts(staff):
    return [AccountFactory().pk for _ in range(ACCOUNTS)]


@pytest.fixture
def staff(transactional_db):
    yield new_superuser()
    # By TRUNCATE: a DELETE of a million rows would take as long as one that hangs.
    with connection.cursor() as cursor:
        cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
        for table in FILLED:
            cursor.execute(f"TRUNCATE TABLE {table}")
        cursor.execute("SET FOREIGN_KEY_CHECKS = 1")


def minute(seconds: int) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def fill_orders(accounts: list[int], often: Product, seldom: Product, rows: int):
    """Orders of these accounts in turn, one a second, each with a line of one of the products."""
    # The oldest ones are of each other kind, so that the newest first are all but these.
    status = (
        "CASE WHEN n < 20 THEN 'refunding' WHEN n < 40 THEN 'cancelled' WHEN n < 60 THEN 'expired'"
        " WHEN n < 80 THEN 'awaiting_payment' WHEN n < 100 THEN 'payment_failed' ELSE 'paid' END"
    )
    lapsed = at(f"IF(n < 70, n, {20 * 365 * 86_400})")
    amounts = dict.fromkeys(("items_amount", "card_amount", "total_amount"), "5")
    none = dict.fromkeys(("discount_amount", "points_amount", "refunded_amount"), "0")
    empty = dict.fromkeys(("failure_code", "failure_detail"), "''")
    fill(
        "orders_order",
        rows,
        id=id_of(1),
        number="REPLACE(REPLACE(REPLACE(LPAD(n, 8, '0'), '0', 'C'), '1', 'D'), '5', 'F')",
        account_id=f"{accounts[0]} + n MOD {ACCOUNTS}",
        status=status,
        **amounts,
        **none,
        **empty,
        currency="'KRW'",
        coupon_code="IF(n < 3, 'SPRING', IF(n MOD 20 = 0, CONCAT('C', n), ''))",
        units="1",
        placed_at=at("n"),
        expires_at=lapsed,
        paid_at=f"IF(n < 20 OR n >= 100, {at('n')}, NULL)",
    )
    fill(
        "orders_orderline",
        rows,
        order_id=id_of(1),
        product_id=f"IF(n < 30, {seldom.pk}, {often.pk})",
        sku="'SKU'",
        name="'Tea'",
        quantity="1",
        unit_price="5",
        line_amount="5",
        discount_amount="0",
        refunded_quantity="0",
    )


@pytest.mark.parametrize("rows", ROWS)
def test_orders_of_each_filter_are_read_by_an_index(accounts, staff, rows):
    often, seldom = ProductFactory(), ProductFactory()
    fill_orders(accounts, often, seldom, rows)
    filters = {
        "": 50,
        "status=paid": 50,
        "status=refunding": 20,
        "status=expired": 30,
        "status=awaiting_payment": 10,
        "status=paying": 0,
        f"product={often.pk}": 50,
        f"product={seldom.pk}": 30,
        "coupon=SPRING": 3,
        "coupon=NONE": 0,
        "number=CCC2-FCCC": 1,
        "number=XXXX-XXXX": 0,
        f"placed_after={minute(0)}": 50,
        f"placed_before={minute(20)}": 20,
        f"placed_after={minute(100)}&placed_before={minute(110)}": 10,
    }
    of_owner = {
        "": 50,
        "status=paid": 50,
        "status=refunding": 1,
        "status=expired": 0,
        f"product={often.pk}": 50,
        f"product={seldom.pk}": 1,
        "coupon=SPRING": 0,
        f"placed_before={minute(20)}": 1,
    }
    check(staff, "/orders?", filters)
    check(staff, f"/orders?account={accounts[7]}&", of_owner, most=PAGE_READS + 4 * rows // ACCOUNTS)


ORDERS = "/admin/orders/order/"
OF_THE_FIRST = "placed_at_from=2026-01-01&placed_at_to=2026-01-01"


@pytest.mark.parametrize("rows", ROWS)
def test_the_list_of_orders_reads_a_page_or_a_bounded_part_by_each_filter_in_either_order(
    accounts, staff, rows
):
    """Whatever is not in the order of an index is looked for in so many rows a page."""
    often, seldom = ProductFactory(name="Tea"), ProductFactory(name="Lamp")
    fill_orders(accounts, often, seldom, rows)
    campaign = CampaignFactory(name="Spring")
    for id in Order.objects.order_by("id").values_list("pk", flat=True)[:3]:
        coupon = coupon_of(campaign)
        set_columns(coupon, order_id=id, status="redeemed")
    operator = signed_in(SuperuserFactory())
    by_index = {
        "": 50,
        "status__exact=paid": 50,
        "status__exact=refunding": 20,
        "product=tea": 50,
        f"product={seldom.sku}": 30,
        "product=lam": 30,
        "campaign=spring": 3,
        OF_THE_FIRST: 50,
        "placed_at_to=2025-12-31": 0,
    }
    in_parts = {
        "total=5": 50,
        "total=4-6": 50,
        "total=6": 0,
        "method=card": 50,
        "method=points": 0,
        "status__exact=paid&product=tea": 50,
        f"status__exact=paid&{OF_THE_FIRST}": 50,
    }
    wrong = []
    for query, expected in [*by_index.items(), *in_parts.items()]:
        most = BOUNDED_READS if query in in_parts else PAGE_READS
        for order in ("", "&o=5", "&o=-5"):
            ask(connection, "FLUSH STATUS")
            answer = operator.get(f"{ORDERS}?{query}{order}")
            counts = dict(ask(connection, "SHOW SESSION STATUS LIKE 'Handler\\_read\\_%%'"))
            found, reads = len(answer.context["cl"].result_list), sum(map(int, counts.values()))
            if found != expected or reads > most:
                wrong.append(f"{query}{order}: {found} rows, {reads} read")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("rows", ROWS)
def test_coupons_of_each_filter_are_read_by_an_index(staff, rows):
    first = User.objects.get().pk + 1
    fill(
        "auth_user",
        rows,
        id=f"{first} + n",
        username="CONCAT('of-', n)",
        is_active="1",
        is_staff="0",
        is_superuser="0",
        date_joined=at("n"),
        **dict.fromkeys(("password", "email", "first_name", "last_name"), "''"),
    )
    often, seldom = CampaignFactory(quantity=10**7), CampaignFactory(quantity=10**7)
    fill(
        "coupons_coupon",
        rows,
        id="n + 1",
        campaign_id=f"IF(n < 40, {seldom.pk}, {often.pk})",
        account_id=f"{first} + n",
        code="CONCAT('C', n)",
        position="n + 1",
        status="IF(n MOD 1000 = 7, 'void', 'issued')",
        issued_at=at("n"),
        expires_at=at(f"IF(n < 60, n, {20 * 365 * 86_400})"),
        void_reason="''",
    )
    void = min(50, rows // 1_000)
    filters = {
        "": 50,
        "status=void": void,
        "status=held": 0,
        f"campaign={often.pk}": 50,
        f"campaign={seldom.pk}": 40,
        f"campaign={often.pk}&status=void": min(50, rows // 1_000 - 1),
        f"campaign={seldom.pk}&status=void": 1,
        f"account={first + 7}": 1,
        f"account={first + 7}&status=expired": 0,
        f"account={first + 8}&status=expired": 1,
        f"campaign={seldom.pk}&status=expired": 39,
    }
    check(staff, "/coupons?", filters)
    # A page looks at so many issued ones, and the next one goes on: of the 60 that have expired one is void.
    check(staff, "/coupons?", {"status=issued": 50, "status=expired": 0}, most=BOUNDED_READS)
    assert len([*all_rows(staff, "/coupons?status=expired")]) == 59
    check_pages("/admin/coupons/coupon/")
    check_pages("/admin/auth/user/")


@pytest.mark.parametrize("rows", ROWS)
def test_payments_of_each_filter_are_read_by_an_index(accounts, staff, rows):
    order = buying.order(accounts[0], ProductFactory(on_hand=9), token="tok_ok")
    settled = f"IF(n < 40, NULL, {at('n')})"
    fill(
        "payments_payment",
        rows,
        id=id_of(2),
        account_id=f"{accounts[0]} + n MOD {ACCOUNTS}",
        status="CASE WHEN n < 30 THEN 'pending' WHEN n < 40 THEN 'in_doubt' WHEN n < 45 THEN 'failed'"
        " ELSE 'succeeded' END",
        **dict.fromkeys(("points_amount", "refunding_amount", "refunded_amount"), "0"),
        card_amount="5",
        currency="'KRW'",
        charge_key="CONCAT('key-', n)",
        charge_reference="'ch'",
        created_at=at("n"),
        settled_at=settled,
        number="1",
        keep_on_decline="0",
        action_url="IF(n < 10, 'https://bank.example', '')",
        action_expires_at=f"IF(n < 10, {at(str(20 * 365 * 86_400))}, NULL)",
        **dict.fromkeys(("token", "failure_code", "failure_detail", "gateway", "gateway_account"), "''"),
    )
    filters = {
        "": 50,
        "status=succeeded": 50,
        "status=failed": 5,
        "status=in_doubt": 10,
        "status=requires_action": 10,
        "status=reversed": 0,
        f"order={order.id}": 1,
        f"order={order.id}&status=failed": 0,
    }
    check(staff, "/payments?", filters)
    own = {"status=requires_action": 1, "status=succeeded": 50}
    check(staff, f"/payments?account={accounts[7]}&", own, most=PAGE_READS + 4 * rows // ACCOUNTS)
    check_pages("/admin/payments/payment/")


@pytest.mark.parametrize("rows", ROWS)
def test_campaigns_and_sales_of_each_status_are_read_by_an_index(staff, rows):
    over, ahead = at("n + 60"), at(str(20 * 365 * 86_400))
    # The last 60 are not over: of these 20 are paused, and 20 have not opened.
    times = {
        "opens_at": f"IF(n < {rows - 20}, {at('n')}, {at(str(19 * 365 * 86_400))})",
        "closes_at": f"IF(n < {rows - 60}, {over}, {ahead})",
        "paused_at": f"IF(n >= {rows - 60} AND n < {rows - 40}, {at('n')}, NULL)",
        "created_at": at("n"),
        "version": "1",
        "name": "'Drop'",
    }
    zero = dict.fromkeys(("issued", "confirming", "codes_added", "min_order_amount"), "0")
    flags = dict.fromkeys(("first_order_only", "is_limited_to_products"), "0")
    fill(
        "coupons_campaign",
        rows,
        **times,
        **zero,
        **flags,
        strategy="'group_commit'",
        quantity="5",
        code_source=f"IF(n = {rows - 25}, 'pool', 'generated')",
        eligible="'all'",
        partner="''",
        discount_type="'amount'",
        discount_value="5",
        coupon_valid_for_days="30",
    )
    fill(
        "sales_sale",
        rows,
        **times,
        admission="'open'",
        **dict.fromkeys(("rate_per_minute", "admitted_for_seconds"), "60"),
        **dict.fromkeys(("seed", "seed_hash", "entries_hash"), "''"),
        **dict.fromkeys(("drawn_count", "is_ordered", "last_position", "passed_position"), "0"),
        admission_clock_ahead="0",
    )
    found = {"": 50, "status=closed": 50, "status=paused": 20, "status=scheduled": 20}
    for kind, opened in (("campaigns", 19), ("sales", 20)):
        check(staff, f"/{kind}?", found | {"status=open": opened})
    check(staff, "/campaigns?", {"status=awaiting_codes": 1, "status=sold_out": 0})


@pytest.mark.parametrize("rows", ROWS)
def test_products_are_read_by_their_sku_and_by_availability_in_pages_of_so_many(staff, rows):
    fill(
        "inventory_product",
        rows,
        id="n + 1",
        sku="CONCAT('SKU-', n)",
        name="'Tea'",
        price="5",
        on_hand="IF(n < 10, 5, 0)",
        reserved="0",
        is_active="1",
        version="0",
        created_at=at("n"),
    )
    check(staff, "/products?", {"sku=SKU-25000": 1, "sku=sku-25000": 0})
    bounded = {"availability=sold_out": 50, "availability=available": 0}
    check(staff, "/products?", bounded, most=BOUNDED_READS)
    assert len([*all_rows(staff, "/products?availability=available")]) == 10
    check_pages("/admin/inventory/product/")


def test_the_status_that_a_campaign_and_a_sale_show_is_the_one_by_which_they_are_found(db, staff):
    past, later = ago(hours=1), from_now(hours=1)
    pool = {"code_source": "pool"}
    for terms in (
        {},
        {"opens_at": later},
        {"closes_at": past, "opens_at": past - timedelta(hours=1)},
        {"paused_at": past},
        {"paused_at": past, "opens_at": later},
        {"quantity": 1, "issued": 1},
        {"quantity": 2, "issued": 1, "confirming": 1},
        pool,
        pool | {"codes_added": 5},
        pool | {"codes_added": 1, "issued": 1},
        pool | {"closes_at": later},
    ):
        CampaignFactory(**{"opens_at": past, "quantity": 9} | terms)
    for times in ({}, {"opens_in": 60}, {"opens_in": -60, "closes_in": 60}):
        create_sale(**times)
    Sale.objects.update(paused_at=None)
    set_columns(create_sale(), paused_at=past)
    set_columns(create_sale(), opens_at=past, closes_at=past + timedelta(minutes=1))

    for path, statuses in (("/campaigns", Campaign.Status.values), ("/sales", Sale.Status.values)):
        every = {row["id"]: row["status"] for row in staff.rows(path)}
        for status in statuses:
            found = {row["id"] for row in staff.rows(f"{path}?status={status}")}
            assert found == {id for id, shown in every.items() if shown == status}, status
        assert set(every.values()) == set(statuses)


@pytest.mark.parametrize("path", ["/orders", "/coupons", "/payments"])
def test_staff_alone_choose_the_account_of_a_list_by_one_name(db, path):
    account = AccountFactory()
    powerless = staff_member()
    acting = client_with("act", f"{path[1:]}:read", account=account, maker=SuperuserFactory())
    for name in ("account", "user"):
        for api in (client_of(account), client_of(powerless), acting):
            assert problem_of(api.get(f"{path}?{name}={account.pk}")) == (403, "permission_denied")
        staff = new_superuser()
        assert staff.rows(f"{path}?{name}={account.pk}") == []
    assert faults(staff.get(f"{path}?user={account.pk}&account={account.pk}")) == [("user", "account_given")]


def test_orders_are_found_by_product_coupon_and_when_they_were_placed(db, staff):
    tea, cup = ProductFactory(on_hand=9), ProductFactory(on_hand=9)
    buyer = AccountFactory()
    coupon = coupon_of(CampaignFactory(), buyer)
    first = buying.order(buyer, tea, coupon=coupon.code)
    with clock.shifted(by=timedelta(seconds=10)):
        second = buying.order(buyer, {cup: 1, tea: 2})

    def found(query):
        return [row["id"] for row in client_of(buyer).rows(f"/orders?{query}")]

    both = [str(second.id), str(first.id)]
    at_second = second.placed_at.isoformat().replace("+00:00", "Z")
    assert (found(f"product={tea.pk}"), found(f"product={cup.pk}")) == (both, both[:1])
    assert found(f"coupon=%20{coupon.code}%20") == both[1:]
    assert (found(f"placed_after={at_second}"), found(f"placed_before={at_second}")) == (both[:1], both[1:])
    assert found(f"product={tea.pk}&coupon={coupon.code}&status=awaiting_payment") == both[1:]
    assert found(f"product={cup.pk}&coupon={coupon.code}") == []
    assert faults(client_of(buyer).get("/orders?placed_after=yesterday")) == [
        ("placed_after", "datetime_from_date_parsing")
    ]
