"""Webhook endpoints by HTTP: created, changed, deleted, tested; who may; what is refused."""

import base64
import sys
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils.html import escape

from accounts.tests.api_keys import client_with, make
from accounts.tests.clients import client_of, faults, problem_of
from events.models import BUILT_IN, WebhookDelivery, WebhookEndpoint
from events.webhooks import deliveries, endpoints
from foundation import clock, journal
from foundation.db import key_walks
from foundation.models import JournalLine
from foundation.tests.factories import staff_member
from foundation.tests.instants import ago, from_now

pytestmark = pytest.mark.django_db(transaction=True)
OF_ENDPOINTS = [f"events.{action}_webhookendpoint" for action in ("view", "add", "change")]
PERMISSIONS = [*OF_ENDPOINTS, "events.view_webhookdelivery", "events.view_feedevent"]
LOOPBACK = "http://127.0.0.1:9/hooks"


@pytest.fixture(autouse=True)
def _any_address(settings):
    settings.WEBHOOK_PRIVATE_ADDRESSES = True


@pytest.fixture
def api():
    yield client_of(staff_member(*PERMISSIONS))


def created(api, **given) -> dict[str, Any]:
    answer = api.post("/webhook-endpoints", {"url": LOOPBACK, "events": ["order.*"]} | given)
    assert answer.status_code == 201, answer.json()
    return answer.json()


def test_the_secret_is_shown_once_and_has_the_form_of_standard_webhooks(api):
    body = created(api, description="Warehouse")
    assert body["secret"].startswith("whsec_")
    assert len(base64.b64decode(body["secret"].removeprefix("whsec_"), validate=True)) == 32

    read = api.read(f"/webhook-endpoints/{body['id']}")

    assert read == {name: value for name, value in body.items() if name != "secret"}
    listed = api.rows("/webhook-endpoints")
    assert all("secret" not in each for each in listed)
    assert (read["events"], read["description"], read["enabled"]) == (["order.*"], "Warehouse", True)


def test_only_who_may_read_events_makes_or_changes_an_endpoint_or_gets_its_secret(api):
    body = created(api)
    path, given = f"/webhook-endpoints/{body['id']}", {"url": LOOPBACK, "events": ["*"]}
    blind_key = client_with("webhooks:read", "webhooks:write")
    blind_staff = client_of(staff_member(*PERMISSIONS[:-1]))
    for blind, code in ((blind_key, "scope_missing"), (blind_staff, "permission_denied")):
        for refused in (
            blind.post("/webhook-endpoints", given),
            blind.patch(path, {"events": ["*"]}),
            blind.post(f"{path}/rotate-secret", {}),
        ):
            assert problem_of(refused) == (403, code)
            assert refused.json().get("scope", "events:read") == "events:read"
    assert WebhookEndpoint.objects.exclude(pk=BUILT_IN).get().secret == body["secret"]

    key = make("webhooks:write", "events:read").key
    seeing = client_with("webhooks:write", "events:read", maker=key.maker)
    endpoint = WebhookEndpoint.objects.get(pk=created(seeing)["id"])

    assert (endpoint.owner_id, endpoint.api_key_id) == (key.maker_id, key.pk + 1)
    # Whoever changes it is the one for whom it gets events from then on.
    assert api.patch(f"/webhook-endpoints/{endpoint.pk}", {"events": ["*"]}).status_code == 200
    endpoint.refresh_from_db()
    assert endpoint.api_key_id is None and endpoint.owner_id != key.maker_id


def test_a_rotated_secret_is_shown_once(api):
    body = created(api)
    path = f"/webhook-endpoints/{body['id']}"

    rotated = api.post(f"{path}/rotate-secret", {})

    assert rotated.status_code == 200
    assert rotated.json().keys() == body.keys()
    assert rotated.json()["secret"] not in ("", body["secret"])
    assert "secret" not in api.read(path)
    assert client_with("webhooks:write", "events:read").post(f"{path}/rotate-secret", {}).status_code == 200
    built_in = api.post(f"/webhook-endpoints/{BUILT_IN}/rotate-secret", {})
    assert problem_of(built_in) == (409, "built_in_endpoint")


def test_lists_and_pages_show_no_key_of_a_url(api, admin_client, settings):
    path = "https://93.184.216.34/services/T00000000000000001/hooks"
    body = created(api, url=f"{path}?token=hunter2==&hunter2")
    settings.DATA_PLATFORM_URL = "https://shop:hunter2@platform.example"
    shown = "https://93.184.216.34/services/***/hooks?token=***&***"
    listed = {one["id"]: one["url"] for one in api.rows("/webhook-endpoints")}
    assert listed == {body["id"]: shown, str(BUILT_IN): "https://***@platform.example/events"}
    assert api.read(f"/webhook-endpoints/{body['id']}")["url"] == body["url"]
    assert api.read(f"/webhook-endpoints/{BUILT_IN}")["url"] == listed[str(BUILT_IN)]
    api.post(f"/webhook-endpoints/{body['id']}/test", {})
    addresses = ["webhookendpoint/", *(f"webhookendpoint/{id}/change/" for id in (body["id"], BUILT_IN))]
    addresses += ["webhookdelivery/", "journalline/"]
    pages = [admin_client.get(f"/admin/events/{page}").text for page in addresses]
    assert not any("hunter2" in page or "T00000000000000001" in page for page in pages)
    assert escape(shown) in pages[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"events": []}, [("events", "too_short")]),
        ({"events": ["order.lost"]}, [("events.0", "unknown_type")]),
        ({"events": ["order.paid", "ord*"]}, [("events.1", "unknown_type")]),
        ({"url": "ftp://receiver.example/"}, [("url", "address_refused")]),
        ({"url": "nothing"}, [("url", "address_refused")]),
        ({"secret": "mine"}, [("secret", "unknown_field")]),
    ],
)
def test_what_is_wrong_is_named(api, given, expected):
    answer = api.post("/webhook-endpoints", {"url": LOOPBACK, "events": ["order.*"]} | given)
    assert faults(answer) == expected


def test_without_debug_only_public_https_addresses_are_taken(api, settings):
    body = created(api)
    settings.WEBHOOK_PRIVATE_ADDRESSES = False
    for url in (LOOPBACK, "https://127.0.0.1/hooks", "https://localhost/hooks", "http://93.184.216.34/"):
        given = {"url": url, "events": ["order.*"]}
        assert faults(api.post("/webhook-endpoints", given)) == [("url", "address_refused")]
        changed = api.patch(f"/webhook-endpoints/{body['id']}", {"url": url})
        assert faults(changed) == [("url", "address_refused")]
    assert created(api, url="https://93.184.216.34/hooks")["url"] == "https://93.184.216.34/hooks"


def test_an_endpoint_is_changed_disabled_enabled_and_deleted(api):
    path = f"/webhook-endpoints/{created(api)['id']}"
    changed = api.patch(path, {"events": ["coupon.issued", "coupon.issued"]}).json()
    assert changed["events"] == ["coupon.issued"]
    assert api.patch(path, {"enabled": False}).json()["enabled"] is False
    assert problem_of(api.post(f"{path}/test", {})) == (409, "endpoint_disabled")
    assert api.patch(path, {"enabled": True}).json()["disabled_at"] is None
    assert api.post(f"{path}/test", {}).status_code == 202

    assert api.delete(path).status_code == 204

    assert api.get(path).status_code == 404
    assert not WebhookDelivery.objects.exists()
    assert api.delete(path).status_code == 404


def test_what_waited_while_an_endpoint_was_disabled_is_tried_as_if_it_were_new(api):
    path = f"/webhook-endpoints/{created(api)['id']}"
    api.post(f"{path}/test", {})
    long_ago = ago(days=4)
    WebhookDelivery.objects.update(created_at=long_ago, next_attempt_at=from_now(hours=1))
    api.patch(path, {"description": "still enabled"})
    assert WebhookDelivery.objects.get().created_at == long_ago
    api.patch(path, {"enabled": False})
    api.patch(path, {"enabled": True})
    row = WebhookDelivery.objects.get()
    assert clock.now() - row.created_at < timedelta(minutes=1)
    assert row.next_attempt_at == row.created_at


def test_a_long_log_is_deleted_in_parts_and_a_repeat_continues(api, monkeypatch):
    kept, path = created(api), f"/webhook-endpoints/{created(api)['id']}"
    for each in (f"/webhook-endpoints/{kept['id']}", path, path, path):
        api.post(f"{each}/test", {})
    monkeypatch.setattr(key_walks, "DELETED_AT_ONCE", 2)
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(journal, "note", lambda **happened: sys.exit())
        endpoints.delete(endpoint_id=UUID(path.rpartition("/")[2]))
    assert api.read(path)["enabled"] is False, "nothing is sent to it any more"
    assert api.delete(path).status_code == 204
    assert [str(row.endpoint_id) for row in WebhookDelivery.objects.all()] == [kept["id"]]


def test_the_data_platform_is_one_of_them_and_is_set_up_by_the_settings(api, settings):
    settings.DATA_PLATFORM_URL = "http://platform.example"
    [listed] = api.rows("/webhook-endpoints")
    assert (listed["kind"], listed["url"]) == ("data_platform", "http://platform.example/events")
    path = f"/webhook-endpoints/{BUILT_IN}"
    answers = api.patch(path, {"description": "x"}), api.delete(path), api.post(f"{path}/test", {})
    for answer in answers:
        assert problem_of(answer) == (409, "built_in_endpoint")
    assert len(api.rows("/webhook-endpoints")) == 1


def test_there_are_so_many_endpoints_and_no_more(api, monkeypatch):
    monkeypatch.setattr(endpoints, "MOST_ENDPOINTS", 2)
    created(api)
    created(api)
    answer = api.post("/webhook-endpoints", {"url": LOOPBACK, "events": ["*"]})
    assert problem_of(answer) == (409, "too_many_endpoints")


def test_a_test_is_listed_as_a_delivery_and_unknown_ones_are_not_found(api):
    path = f"/webhook-endpoints/{created(api)['id']}"
    sent = api.post(f"{path}/test", {}).json()
    assert (sent["type"], sent["status"], sent["attempts"]) == ("webhook.test", "pending", 0)
    assert api.rows(f"{path}/deliveries") == [sent]
    assert api.rows(f"{path}/deliveries?status=failed") == []
    assert api.get(f"{path}/deliveries?status=lost").status_code == 400
    assert api.post(f"{path}/deliveries/0/resend", {}).status_code == 404
    assert api.get(f"/webhook-endpoints/{uuid4()}").status_code == 404


def test_so_many_tests_may_wait_and_no_more(api):
    path = f"/webhook-endpoints/{created(api)['id']}/test"
    statuses = [api.post(path, {}).status_code for _ in range(deliveries.MOST_TESTS + 1)]
    assert statuses == [202] * deliveries.MOST_TESTS + [409]
    # A quick receiver makes none of them wait.
    now = clock.now()
    WebhookDelivery.objects.update(status="delivered", next_attempt_at=None, delivered_at=now)
    assert api.post(path, {}).status_code == 409
    JournalLine.objects.filter(what="webhook_endpoint.tested").update(at=now - timedelta(seconds=61))
    assert api.post(path, {}).status_code == 202


def test_the_journal_has_neither_the_secret_nor_path_or_query_of_a_url(api):
    body = created(api, url="https://93.184.216.34/hooks/secret?key=secret")
    api.patch(f"/webhook-endpoints/{body['id']}", {"url": "https://93.184.216.34/hooks/another"})
    lines = JournalLine.objects.filter(subject=f"webhook endpoint {body['id']}").order_by("id")
    assert [line.what for line in lines] == ["webhook_endpoint.created", "webhook_endpoint.changed"]
    assert body["secret"] not in "".join(f"{line.before}{line.after}{line.detail}" for line in lines)
    assert not any("hooks" in f"{line.detail} {line.before} {line.after}" for line in lines)
    assert lines[0].after["url"].startswith("https://93.184.216.34/ (")
    assert lines[1].before["url"] == lines[0].after["url"] != lines[1].after["url"]
