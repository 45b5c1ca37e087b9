"""The search box: what it finds, for whom, by which indexes, and that it works without a script."""

import re
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.tests.clients import signed_in
from backoffice.search import page as search_page
from backoffice.tests.test_home_page import settled_payments
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory, accounts, coupon_of
from foundation.admin_base import lists
from foundation.models import JournalLine
from foundation.tests.factories import (
    AccountFactory,
    OrderFactory,
    SuperuserFactory,
    set_columns,
    staff_member,
)
from foundation.tests.plans import assert_read_by_index
from foundation.tests.servers import explain
from foundation.tests.staff_groups import member_of
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order, Refund, Saga
from orders.tests import operating_pages
from payments import selectors
from payments.models import Payment
from sales.tests.factories import create_sale

pytestmark = pytest.mark.django_db
PAGE, HITS = "/admin/search/", "/admin/search/hits/"
FOUND_BY_GROUP = {
    "Viewer": {"Order", "Payment or refund", "Refund"},
    "Support": {"Order", "Payment", "Payment or refund", "Refund", "Coupon", "Account"},
    "Operations": {"Order", "Payment", "Payment or refund", "Refund", "Coupon"},
    "Finance": {"Order", "Payment", "Payment or refund", "Refund", "Coupon", "Account"},
    "": set(),
}


def client_of(user: User | None = None) -> Client:
    return signed_in(user or SuperuserFactory())


def sent(term: str):
    return client_of().get(PAGE, {"q": term})


def typed(term: str, user: User | None = None) -> list[dict[str, str]]:
    return client_of(user).get(HITS, {"q": term}).json()["hits"]


def leads_to(term: str) -> str:
    """Where the search leads at once; empty if it shows a list."""
    return str(sent(term).headers.get("Location", ""))


def titles(term: str) -> list[tuple[str, str]]:
    return [(hit.kind, hit.title) for _, hits in sent(term).context["groups"] for hit in hits]


@pytest.fixture
def order():
    """A paid order with its payment and saga, bought with a coupon."""
    return operating_pages.paid_order(discount=100)


def test_the_whole_id_of_an_order_payment_or_saga_and_the_keys_of_a_payment_open_their_pages(order):
    payment = Payment.objects.get(order=order)
    saga = Saga.objects.get(subject_id=payment.pk)

    assert leads_to(str(order.pk)) == f"/admin/orders/order/{order.pk}/change/"
    assert leads_to(f"  {order.pk.hex.upper()} ") == f"/admin/orders/order/{order.pk}/change/"
    assert leads_to(str(payment.pk)) == f"/admin/payments/payment/{payment.pk}/change/"
    assert leads_to(str(saga.pk)) == f"/admin/orders/saga/{saga.pk}/change/"
    assert not leads_to(str(uuid4()))
    assert leads_to(payment.charge_key) == f"/admin/payments/payment/{payment.pk}/change/"
    assert leads_to(payment.charge_reference) == f"/admin/payments/payment/{payment.pk}/change/"
    assert not leads_to(payment.charge_reference[:-1])
    # While it is typed the reference is not looked for: that takes longer.
    assert typed(payment.charge_reference) == []


def test_a_coupon_is_found_by_its_code_in_either_case_and_by_its_beginning():
    campaign = CampaignFactory(name="Spring")
    coupon = coupon_of(campaign)
    Coupon.objects.update(code="SPRING-AB12")
    set_columns(coupon_of(campaign), code="SPRING-AB99")

    page = f"/admin/coupons/coupon/{coupon.pk}/change/"
    assert leads_to("SPRING-AB12") == leads_to("spring-ab12") == page
    assert titles("spring-ab") == [("Coupon", "SPRING-AB12"), ("Coupon", "SPRING-AB99")]
    assert titles("PRING") == [("Campaign", "Spring")]


def test_the_journal_is_searched_by_what_rows_are_called(order):
    def found(term: str) -> set[str]:
        page = client_of().get("/admin/shop/journalline/", {"q": term})
        return {line.what for line in page.context["cl"].result_list}

    product = order.lines.get().product
    for term in (order.number, str(order), str(order)[-4:]):
        assert "order.paid" in found(term)
    assert "stock.sold" in found(product.name) & found(product.sku)
    set_columns(order.account, email="buyer@example.com")
    line = {"what": "account.changed", "subject": f"account {order.account_id}", "actor": "staff"}
    JournalLine.objects.create(at=timezone.now(), **line)
    assert found("buyer@example.com") == found(order.account.username) == {"account.changed"}
    assert found("nothing") == set()


def test_the_order_that_holds_a_coupon_is_shown_beside_it(order):
    coupon = Coupon.objects.get(order=order)

    assert leads_to(coupon.code) == f"/admin/coupons/coupon/{coupon.pk}/change/"
    assert [hit["kind"] for hit in typed(coupon.code)] == ["Coupon", "Order"]
    assert [hit["kind"] for hit in typed(str(order.pk))] == ["Order", "Payment"]


def test_an_account_is_found_by_the_beginning_of_its_name_or_address_and_by_its_number():
    ada = AccountFactory(username="ada", email="lovelace@example.com")
    adam = AccountFactory(username="Adam", email="first@example.com", is_active=False)

    assert titles("ada") == [("Account", "ada"), ("Account", "Adam")]
    assert titles("ADA") == titles("ada")
    assert leads_to("adam") == f"/admin/accounts/{adam.pk}/"
    assert leads_to("lovelace@example.com") == f"/admin/accounts/{ada.pk}/"
    assert titles("lovel") == [("Account", "ada")]
    assert leads_to(str(ada.pk)) == f"/admin/accounts/{ada.pk}/"
    assert titles("ovelace") == titles("%ada") == titles("_da") == []
    details = [hit["detail"] for hit in typed("adam")]
    assert details == [f"first@example.com · customer · disabled · #{adam.pk}"]


def numbered(order: Order, number="K7QM42XD") -> str:
    set_columns(order, number=number)
    return f"/admin/orders/order/{order.pk}/change/"


@pytest.mark.parametrize("term", ["K7QM-42XD", "k7qm-42xd", "K7QM42XD", " k7qm 42xd "])
def test_an_order_is_opened_by_its_number_in_either_case_with_and_without_its_hyphen(order, term):
    page = numbered(order)
    assert leads_to(term) == page
    [hit] = typed(term)
    assert (hit["kind"], hit["title"]) == ("Order", "K7QM-42XD")
    assert hit["detail"].startswith("paid · ") and f" · {order.account.username} · " in hit["detail"]


def test_an_order_is_found_by_the_beginning_and_the_end_of_its_number(order):
    other = operating_pages.paid_order()
    numbered(order)
    numbered(other, "9GHJ42XD")

    assert titles("42xd") == [("Order", "9GHJ-42XD"), ("Order", "K7QM-42XD")]
    assert titles("K7QM") == titles("M42XD") == [("Order", "K7QM-42XD")]
    assert titles("2XD") == titles("7QM4") == []


def orders_of(term: str, user: User | None = None) -> list[str]:
    return [hit["title"] for hit in typed(term, user) if hit["kind"] == "Order"]


def test_an_order_is_found_by_the_buyers_whole_address_and_by_its_product(order):
    numbered(order)
    product = order.lines.first().product
    for term in (order.account.email.upper(), order.account.username, product.sku, product.name):
        assert orders_of(term) == ["K7QM-42XD"], term
    set_columns(product, name="Green tea")
    assert orders_of("een te") == orders_of("#k7qm-42xd") == ["K7QM-42XD"]
    assert orders_of(order.account.email[:-1]) == []


def test_the_payment_of_a_charge_is_shown_with_its_order(order):
    page = numbered(order)
    reference = Payment.objects.get(order=order).charge_reference
    payment = client_of().get(leads_to(reference))
    assert page in payment.text and "K7QM-42XD" in payment.text


@pytest.mark.parametrize("right", ["auth.view_user", "inventory.view_product"])
def test_an_order_is_not_found_by_what_the_operator_may_not_view(order, right):
    term = order.account.email if right == "auth.view_user" else order.lines.first().product.sku
    assert orders_of(term, staff_member("orders.view_order")) == []
    assert len(orders_of(term, staff_member("orders.view_order", right))) == 1


def test_campaigns_sales_and_products_are_found_by_a_part_of_their_names_and_by_codes():
    campaign = CampaignFactory(name="Spring Drop", code_source="shared", shared_code="WELCOME-24")
    mug = ProductFactory(name="Blue spring mug", sku="MUG-1", price=12_000, on_hand=5)
    sale = create_sale(mug, name="Last of spring")

    assert sorted(titles("spring")) == [
        ("Campaign", "Spring Drop"),
        ("Product", "Blue spring mug"),
        ("Sale", "Last of spring"),
    ]
    assert titles("WELCOME") == [("Campaign", "Spring Drop")]
    assert leads_to("welcome-24") == f"/admin/coupons/campaign/{campaign.pk}/change/"
    assert leads_to("mug-1") == f"/admin/products/{mug.pk}/"
    assert leads_to("Spring Drop") == f"/admin/coupons/campaign/{campaign.pk}/change/"
    assert leads_to("last of spring") == f"/admin/sales/sale/{sale.pk}/change/"
    assert [hit["detail"] for hit in typed("mug-1")] == ["MUG-1 · available · 12,000 KRW · 5 available"]


def test_what_the_whole_term_names_comes_first_with_all_of_its_kind_and_the_script_opens_the_first():
    CampaignFactory(name="Mug week")
    for name in ("Mug, large", "Mug", "A mug"):
        ProductFactory(name=name)

    assert titles("mug") == [
        ("Product", "Mug"),
        ("Product", "A mug"),
        ("Product", "Mug, large"),
        ("Campaign", "Mug week"),
    ]
    answer = client_of().get(PAGE, {"q": "mug", "first": "1"})
    assert answer.headers["Location"] == f"/admin/products/{Product.objects.get(name='Mug').pk}/"
    assert client_of().get(PAGE, {"q": "nothing", "first": "1"}).status_code == 200


@pytest.mark.usefixtures("_staff_groups")
@pytest.mark.parametrize("group", FOUND_BY_GROUP)
def test_only_what_the_group_may_see_is_found(group, order):
    payment, coupon = Payment.objects.get(order=order), Coupon.objects.get(order=order)
    amounts = {"amount": 1, "points_amount": 0, "card_amount": 1}
    refund = Refund.objects.create(order=order, reason="broken", created_at=timezone.now(), **amounts)
    user = member_of(group)
    saga = Saga.objects.get(subject_id=payment.pk)
    terms = [order.pk, payment.pk, refund.pk, saga.pk, coupon.code, order.account.username]

    hits = [hit for term in terms for hit in typed(str(term), user)]

    assert {hit["kind"] for hit in hits} == FOUND_BY_GROUP[group]
    client = client_of(user)
    for hit in hits:
        assert client.get(hit["address"]).status_code == 200, hit
    for term in (order.pk, payment.pk, coupon.code):
        answer = client.get(PAGE, {"q": str(term)})
        assert answer.status_code == 200 or client.get(answer.headers["Location"]).status_code == 200
    if not group:
        assert "Ask a superuser to add it to a group" in client.get(PAGE).text


def test_a_term_is_bounded_and_strange_ones_find_nothing():
    assert "Type at most 150 characters" in sent("x" * (search_page.LONGEST_TERM + 1)).text
    with CaptureQueriesContext(connection) as captured:
        assert typed("x" * (search_page.LONGEST_TERM + 1)) == [] and typed("ab") == [] and typed("") == []
    assert not [one for one in captured if "orders_order" in one["sql"] or "coupons_coupon" in one["sql"]]
    for term in ("9" * 100, "\x00", "a\x00b", "%%%", "___", "'; --", "한국어", "🎟️🎟️🎟️", "²²²", "\\", "a" * 150):
        assert sent(term).status_code == 200
        assert typed(term) == []


def test_it_changes_nothing_and_is_not_kept():
    for path in (PAGE, HITS):
        assert client_of().post(path, {"q": "x"}).status_code == 405
        assert "no-store" in client_of().get(path).headers["Cache-Control"]


def test_every_statement_of_a_search_is_answered_by_an_index(order, monkeypatch):
    monkeypatch.setattr(selectors, "NEWEST_WITH_REFERENCE", 20)
    monkeypatch.setattr(lists, "SEARCHED_ROWS", 2)
    for _ in range(2):
        create_sale(ProductFactory())
        CampaignFactory()
    settled_payments(2_000)
    campaign = CampaignFactory(quantity=3_000)
    now = timezone.now()
    # MySQL reads all names in their order where one begins most of them.
    User.objects.bulk_create(User(username=f"buyer-{number}") for number in range(3_000))
    ids = accounts(1_500)
    Coupon.objects.bulk_create(
        Coupon(
            campaign=campaign, account_id=id, code=f"CODE-{id:06}", position=id, issued_at=now, expires_at=now
        )
        for id in ids
    )
    Order.objects.bulk_create(OrderFactory.build(account_id=ids[0], account=None) for _ in range(1_000))
    client = client_of()
    terms = [str(order.pk), str(uuid4()), "code-0", f"CODE-{ids[7]:06}", "account-", "acc@example.com"]
    terms += [str(ids[3]), "payment-key", "ch_" + "0" * 24, "42XD", "K7QM-42XD"]

    for term in terms:
        with CaptureQueriesContext(connection) as captured:
            client.get(HITS, {"q": term})
            client.get(PAGE, {"q": term})
        read = re.compile(r"FROM `(orders|coupons|payments)_|LIKE")
        statements = [one["sql"] for one in captured if read.search(one["sql"])]
        assert statements
        assert len(captured) <= 60, term
        # The bound of the newest payments is read from the end of the primary key.
        for statement in (one for one in statements if not re.search("OFFSET 1(9)?$", one)):
            # Parts of names and ends of numbers are looked for in so many of the newest rows.
            if "LIKE '%" in statement:
                assert "`id` >= " in statement
                continue
            assert_read_by_index(statement, but_for=["coupons_campaign", "orders_refund", "orders_saga"])
            if "`code` LIKE" in statement:
                [step] = explain(statement)
                assert (step["type"], step["key"]) == ("range", "coupons_coupon_code_is_unique")
