"""Metadata of orders: what programs keep with them, merged, in events and exports, gone with the account."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from accounts.models import ApiKey
from accounts.personal_data import erasure, registry
from accounts.tests.api_keys import client_with
from accounts.tests.clients import Api, client_of, faults, new_customer, signed_in
from events.models import FeedEvent
from foundation.concurrency.batching import MAX_BATCH
from foundation.models import JournalLine
from foundation.tests.factories import AccountFactory, SuperuserFactory, staff_member
from inventory.tests.factories import ProductFactory
from orders import order_metadata
from orders.models import Order
from orders.placement.decisions import PlacedOrder
from orders.placement.strategies import group_commit
from orders.schemas import MAX_LINES
from orders.tests import buying
from orders.tests.buying import order_of
from orders.tests.operating_pages import page_of

pytestmark = pytest.mark.django_db(transaction=True)
QUOTES = '"' * 500
LONGER_IN_NFC = "\u0958" * 21
"""Each of these characters becomes two."""
TWENTY = {f"key {number}": "text" for number in range(20)}


@pytest.fixture
def order(api, product):
    return api.post("/orders", order_of(product) | {"metadata": {"basket": "가방"}}, key="a").json()


def path(order: dict[str, Any]) -> str:
    return f"/orders/{order['id']}"


def change(api, order: dict[str, Any], metadata):
    return api.patch(path(order), {"metadata": metadata})


def events(type: str) -> list[dict[str, Any]]:
    return list(FeedEvent.objects.filter(type=type).order_by("id").values_list("data", flat=True))


def test_an_order_keeps_what_its_program_sent_and_has_it_in_its_answers_and_events(api, order, product):
    assert order["metadata"] == {"basket": "가방"}
    assert api.read(path(order)) == order
    assert api.post(f"{path(order)}/cancel").json()["metadata"] == {"basket": "가방"}
    for type in ("order.placed", "order.cancelled"):
        assert [data["metadata"] for data in events(type)] == [{"basket": "가방"}]
        assert [data["number"] for data in events(type)] == [order["number"]]
    without = api.post("/orders", order_of(product), key="b").json()
    assert without["metadata"] == {}
    assert "metadata" not in events("order.placed")[1]
    empty = api.post("/orders", order_of(product) | {"metadata": {}}, key="c")
    assert (empty.status_code, empty.json()["metadata"]) == (201, {})


def test_staff_merge_texts_and_null_removes_one(staff, order):
    changed = change(staff, order, {"invoice": "7", "basket": None, "no such": None})
    assert (changed.status_code, changed.json()["metadata"]) == (200, {"invoice": "7"})
    assert change(staff, order, {}).json()["metadata"] == {"invoice": "7"}
    assert change(staff, order, {"invoice": ""}).json()["metadata"] == {"invoice": ""}
    assert change(staff, order, {"invoice": None}).json()["metadata"] == {}
    assert Order.objects.get().metadata is None


def test_a_change_is_one_event_that_names_who_did_it_and_what_changes_nothing_is_none(order):
    maker = SuperuserFactory()
    by_key, by_person = client_with("orders:write", maker=maker), client_of(maker)
    for client, text in ((by_key, "1"), (by_person, "2"), (by_person, "2")):
        assert change(client, order, {"invoice": text}).status_code == 200
    told = [(data["by"], data["metadata"]["invoice"]) for data in events("order.updated")]
    assert told == [
        ({"account": maker.pk, "api_key": ApiKey.objects.get().pk}, "1"),
        ({"account": maker.pk, "api_key": None}, "2"),
    ]
    assert {data["number"] for data in events("order.updated")} == {order["number"]}


def test_a_key_changes_the_orders_of_the_account_that_it_acts_for_and_of_no_other(order, buyer):
    for account, status in ((buyer, 200), (AccountFactory(), 404)):
        acting = client_with("orders:write", "act", account=account)
        assert change(acting, order, {"a": "b"}).status_code == status


def test_buyers_and_clerks_without_the_right_change_none(api, order):
    for client in (api, client_of(staff_member()), new_customer()):
        assert change(client, order, {"a": "b"}).status_code == 403
    assert change(Api(), order, {"a": "b"}).status_code == 401
    assert Order.objects.get().metadata == {"basket": "가방"}


@pytest.mark.parametrize(
    ("metadata", "field", "code"),
    [
        ({"a": 1}, "metadata.a", "string_type"),
        ({"a": {}}, "metadata.a", "string_type"),
        (["a"], "metadata", "dict_type"),
        ({"": "b"}, "metadata..[key]", "string_too_short"),
        ({"k" * 41: "b"}, f"metadata.{'k' * 41}.[key]", "string_too_long"),
        ({LONGER_IN_NFC: "b"}, f"metadata.{LONGER_IN_NFC}.[key]", "string_too_long"),
        ({"a": "b" * 501}, "metadata.a", "string_too_long"),
        ({"a": "\x00"}, "metadata.a", "control_character"),
        ({"a\x1f": "b"}, "metadata", "control_character"),
        (TWENTY | {"one more": "text"}, "metadata", "too_long"),
    ],
)
def test_what_is_no_metadata_is_refused_where_it_is(api, staff, order, product, metadata, field, code):
    refusals = [
        api.post("/orders", order_of(product) | {"metadata": metadata}, key="b"),
        change(staff, order, metadata),
    ]
    assert [faults(refusal) for refusal in refusals] == [[(field, code)]] * 2
    assert [one.metadata for one in Order.objects.all()] == [{"basket": "가방"}]


def test_operators_see_the_texts_of_an_order_whatever_their_keys_are(api, product):
    texts = {"items": "of a basket", "<b>": "<i>"}
    order = api.post("/orders", order_of(product) | {"metadata": texts}, key="b").json()

    page = signed_in(SuperuserFactory()).get(page_of(Order.objects.get(id=order["id"])))
    assert page.status_code == 200
    assert "<dt><code>items</code></dt><dd>of a basket</dd>" in page.text
    assert "<dt><code>&lt;b&gt;</code></dt><dd>&lt;i&gt;</dd>" in page.text


def test_merged_texts_are_twenty_at_most(staff, order):
    assert faults(change(staff, order, TWENTY)) == [("metadata", "too_long")]
    assert change(staff, order, TWENTY | {"basket": None}).status_code == 200


def test_metadata_is_in_no_line_of_the_log(api, staff, product, caplog):
    secret = "what-only-programs-read"
    order = api.post("/orders", order_of(product) | {"metadata": {secret: secret}}, key="a").json()
    change(staff, order, {"more": secret})
    change(staff, order, {"more": f"{secret}\x00"})
    assert secret not in caplog.text


def test_a_batch_of_the_largest_orders_fits_what_a_server_takes_at_once(buyer, settings):
    settings.OPEN_ORDERS_PER_ACCOUNT = settings.OPEN_UNITS_PER_ACCOUNT = 10**6
    wanted = {ProductFactory(on_hand=MAX_BATCH, name="가" * 255): 1 for _ in range(MAX_LINES)}
    texts = {f"{number:02}" + QUOTES[:38]: QUOTES for number in range(20)}
    orders = [buying.order_request(buyer, wanted)._replace(metadata=texts) for _ in range(MAX_BATCH)]
    assert {type(placed) for placed in group_commit.place_batch(orders)} == {PlacedOrder}


def erase_at_once(account: User, monkeypatch):
    monkeypatch.setattr(erasure, "SETTLING", timedelta(0))
    erasure.start(account_id=account.pk, reason="asked", forfeit_balance=True)
    erasure.erase(account_id=account.pk, reason="asked", forfeit_balance=True)


def told() -> list[str]:
    """What the journal says."""
    return [str((line.before, line.after)) for line in JournalLine.objects.all()]


def test_the_access_report_has_it_and_the_erasure_leaves_none_on_the_order_or_in_the_journal(
    api, order, buyer, staff, monkeypatch
):
    change(staff, order, {"name": "Ada"})
    assert b"Ada" in registry.export(account_id=buyer.pk, reason="asked")
    api.post(f"{path(order)}/cancel")
    erase_at_once(buyer, monkeypatch)
    assert Order.objects.get().metadata is None
    assert not [one for one in told() if "Ada" in one or "가방" in one]
    assert order_metadata.orders_with(buyer.pk) == []


def test_the_erasure_leaves_no_metadata_in_the_journal_that_was_removed_from_its_order_before(
    api, order, buyer, staff, monkeypatch
):
    change(staff, order, {"basket": None})
    api.post(f"{path(order)}/cancel")
    assert Order.objects.get().metadata is None
    erase_at_once(buyer, monkeypatch)
    assert "가방" not in str(told())
    assert not erasure.erase(account_id=buyer.pk, reason="asked").is_new
