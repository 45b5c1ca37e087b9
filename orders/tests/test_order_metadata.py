"""Metadata of orders: what programs keep with them, merged, in events and exports, gone with the account."""

from datetime import timedelta
from typing import Any

import pytest

from accounts.models import ApiKey
from accounts.personal_data import erasure, registry
from events.models import FeedEvent
from orders import order_metadata
from orders.models import Order
from orders.tests.buying import order_of
from shop.models import JournalLine
from shop.tests.api_keys import client_with
from shop.tests.clients import Api, client_of
from shop.tests.factories import AccountFactory, SuperuserFactory

pytestmark = pytest.mark.django_db(transaction=True)
TWENTY = {f"key {number}": "text" for number in range(20)}


@pytest.fixture
def order(api: Api, product) -> dict[str, Any]:
    return api.post("/orders", order_of(product) | {"metadata": {"basket": "가방"}}, key="a").json()


@pytest.fixture
def staff() -> Api:
    return client_of(SuperuserFactory.create())


def path(order: dict[str, Any]) -> str:
    return f"/orders/{order['id']}"


def events(type: str) -> list[dict[str, Any]]:
    return list(FeedEvent.objects.filter(type=type).order_by("id").values_list("data", flat=True))


def test_an_order_keeps_what_its_program_sent_and_has_it_in_its_answers_and_events(api, order, product):
    assert order["metadata"] == {"basket": "가방"}
    assert api.get(path(order)).json() == order
    assert api.post(f"{path(order)}/cancel").json()["metadata"] == {"basket": "가방"}
    for type in ("order.placed", "order.cancelled"):
        assert [data["metadata"] for data in events(type)] == [{"basket": "가방"}]
        assert [data["number"] for data in events(type)] == [order["number"]]
    without = api.post("/orders", order_of(product), key="b").json()
    assert without["metadata"] == {}
    assert "metadata" not in events("order.placed")[1]


def test_staff_merge_texts_and_null_removes_one(staff, order):
    changed = staff.patch(path(order), {"metadata": {"invoice": "7", "basket": None, "no such": None}})
    assert (changed.status_code, changed.json()["metadata"]) == (200, {"invoice": "7"})
    assert staff.patch(path(order), {"metadata": {}}).json()["metadata"] == {"invoice": "7"}
    assert staff.patch(path(order), {"metadata": {"invoice": ""}}).json()["metadata"] == {"invoice": ""}
    assert staff.patch(path(order), {"metadata": {"invoice": None}}).json()["metadata"] == {}
    assert Order.objects.get().metadata is None


def test_a_change_is_one_event_that_names_who_did_it_and_what_changes_nothing_is_none(order):
    maker = SuperuserFactory.create()
    by_key, by_person = client_with("orders:write", maker=maker), client_of(maker)
    for client, text in ((by_key, "1"), (by_person, "2"), (by_person, "2")):
        assert client.patch(path(order), {"metadata": {"invoice": text}}).status_code == 200
    told = [(data["by"], data["metadata"]["invoice"]) for data in events("order.updated")]
    assert told == [
        ({"account": maker.pk, "api_key": ApiKey.objects.get().pk}, "1"),
        ({"account": maker.pk, "api_key": None}, "2"),
    ]
    assert {data["number"] for data in events("order.updated")} == {order["number"]}


def test_a_key_changes_the_orders_of_the_account_that_it_acts_for_and_of_no_other(order, buyer):
    for account, status in ((buyer, 200), (AccountFactory.create(), 404)):
        acting = client_with("orders:write", "act", account=account)
        assert acting.patch(path(order), {"metadata": {"a": "b"}}).status_code == status


def test_buyers_and_clerks_without_the_right_change_none(api, order):
    for client in (api, client_of(AccountFactory.create(is_staff=True)), client_of(AccountFactory.create())):
        assert client.patch(path(order), {"metadata": {"a": "b"}}).status_code == 403
    assert Api().patch(path(order), {"metadata": {"a": "b"}}).status_code == 401
    assert Order.objects.get().metadata == {"basket": "가방"}


@pytest.mark.parametrize(
    ("metadata", "field", "code"),
    [
        ({"a": 1}, "metadata.a", "string_type"),
        ({"a": {}}, "metadata.a", "string_type"),
        (["a"], "metadata", "dict_type"),
        ({"": "b"}, "metadata..[key]", "string_too_short"),
        ({"k" * 41: "b"}, f"metadata.{'k' * 41}.[key]", "string_too_long"),
        ({"a": "b" * 501}, "metadata.a", "string_too_long"),
        ({"a": "\x00"}, "metadata.a", "control_character"),
        ({"a\x1f": "b"}, "metadata", "control_character"),
        (TWENTY | {"one more": "text"}, "metadata", "too_long"),
    ],
)
def test_what_is_no_metadata_is_refused_where_it_is(api, staff, order, product, metadata, field, code):
    refusals = [
        api.post("/orders", order_of(product) | {"metadata": metadata}, key="b"),
        staff.patch(path(order), {"metadata": metadata}),
    ]
    for refusal in refusals:
        assert refusal.status_code == 400
        [error] = refusal.json()["errors"]
        assert (error["field"], error["code"]) == (field, code)
    assert [one.metadata for one in Order.objects.all()] == [{"basket": "가방"}]


def test_merged_texts_are_twenty_at_most(staff, order):
    refused = staff.patch(path(order), {"metadata": TWENTY})
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "too_long")
    assert staff.patch(path(order), {"metadata": TWENTY | {"basket": None}}).status_code == 200


def test_a_repeat_of_the_call_has_the_same_metadata_and_another_one_is_another_call(api, product):
    body = order_of(product) | {"metadata": {"a": "b"}}
    first = api.post("/orders", body, key="a")
    assert api.post("/orders", body, key="a").json() == first.json()
    assert api.post("/orders", body | {"metadata": {"a": "c"}}, key="a").status_code == 422


def test_metadata_is_in_no_line_of_the_log(api, staff, product, caplog):
    secret = "what-only-programs-read"
    order = api.post("/orders", order_of(product) | {"metadata": {secret: secret}}, key="a").json()
    staff.patch(path(order), {"metadata": {"more": secret}})
    staff.patch(path(order), {"metadata": {"more": f"{secret}\x00"}})
    assert secret not in caplog.text


def test_the_access_report_has_it_and_the_erasure_leaves_none_on_the_order_or_in_the_journal(
    api, order, buyer, staff, monkeypatch
):
    staff.patch(path(order), {"metadata": {"name": "Ada"}})
    assert b"Ada" in registry.export(account_id=buyer.pk, reason="asked")
    api.post(f"{path(order)}/cancel")
    monkeypatch.setattr(erasure, "SETTLING", timedelta(0))
    erasure.start(account_id=buyer.pk, reason="asked", forfeit_balance=True)
    erasure.erase(account_id=buyer.pk, reason="asked", forfeit_balance=True)
    assert Order.objects.get().metadata is None
    told = [str((line.before, line.after)) for line in JournalLine.objects.all()]
    assert not [one for one in told if "Ada" in one or "가방" in one]
    assert order_metadata.orders_with(buyer.pk) == []
