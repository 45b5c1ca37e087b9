"""Webhook endpoints in the admin: made, tested, rotated and disabled, with the API's rights and limits."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts.tests.api_keys import make
from accounts.tests.clients import signed_in
from events.feed import catalogue
from events.models import BUILT_IN, WebhookDelivery, WebhookEndpoint
from events.webhooks import deliveries, endpoints, endpoints_admin
from foundation.models import IdempotencyKey, JournalLine
from foundation.tests.confirming import confirmed, done, to_confirm
from foundation.tests.factories import reloaded, staff_member
from foundation.tests.journal_lines import journal_line

pytestmark = pytest.mark.django_db(transaction=True)
RIGHTS = ["view_webhookendpoint", "add_webhookendpoint", "change_webhookendpoint", "view_feedevent"]
URL = "https://93.184.216.34/hooks/T00000000000000001"
SECRET = re.compile(r"<code>(whsec_[\w+/=-]+)</code>")
FILLED = {"url": URL, "events": ["order.*", "stock.low"], "description": "Warehouse"}
WHY = "A laptop was lost."


@pytest.fixture
def operator():
    return client_with(*RIGHTS)


def client_with(*rights: str) -> Client:
    return signed_in(staff_member(*(f"events.{one}" for one in rights)))


def address(name: str, endpoint: WebhookEndpoint | None = None) -> str:
    return reverse(f"admin:events_webhookendpoint_{name}", args=[endpoint.pk] if endpoint else [])


def new_endpoint(**given) -> WebhookEndpoint:
    key = make("webhooks:write", "events:read").key
    owner = endpoints.Owner(key.maker_id, key.pk)
    return endpoints.create(url=URL, events=["*"], owner=owner, **given)


def own() -> list[WebhookEndpoint]:
    return [*WebhookEndpoint.objects.exclude(pk=BUILT_IN)]


def test_an_endpoint_is_made_for_the_operator_and_its_secret_is_shown_once(operator):
    sent = to_confirm(operator, address("create"), **FILLED)

    answers = [operator.post(address("create"), sent) for _ in "12"]

    assert [answer.status_code for answer in answers] == [200, 302]
    assert "no-store" in answers[0]["Cache-Control"]
    [endpoint] = own()
    assert SECRET.findall(answers[0].text) == [endpoint.secret] and endpoint.secret not in answers[1].text
    assert (endpoint.url, endpoint.events, endpoint.description) == (
        URL,
        ["order.*", "stock.low"],
        "Warehouse",
    )
    line = journal_line("webhook_endpoint.created")
    assert (endpoint.owner_id, endpoint.api_key_id) == (line.actor_id, None)
    kept = str([*IdempotencyKey.objects.values(), *JournalLine.objects.values()])
    kept += operator.get(address("changelist")).text + operator.get(address("change", endpoint)).text
    assert endpoint.secret not in kept and "T00000000000000001" not in kept
    assert "Orders: placed, paid, refunded, cancelled · Low stock only" in kept


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"url": "http://93.184.216.34/"}, "it must begin with https://"),
        ({"url": "https://127.0.0.1/hooks"}, "is not public"),
        ({"url": "https://localhost/hooks"}, "is not public"),
        ({"events": ["order.lost"]}, "is not one of the available choices"),
        ({"events": []}, "This field is required"),
    ],
)
def test_what_the_api_refuses_is_refused_and_said(operator, settings, wrong, said):
    settings.WEBHOOK_PRIVATE_ADDRESSES = False

    answer = confirmed(operator, address("create"), **FILLED | wrong)

    assert said in answer.text and answer.status_code == 200
    assert own() == [] and not JournalLine.objects.filter(what__startswith="webhook_endpoint.")


def test_there_are_no_more_endpoints_than_the_api_allows(operator, monkeypatch):
    monkeypatch.setattr(endpoints, "MOST_ENDPOINTS", 1)
    kept = new_endpoint()

    answer = confirmed(operator, address("create"), **FILLED)

    assert "There are 1 endpoints already" in answer.text
    assert own() == [kept]


@pytest.mark.parametrize(
    ("lacking", "refused"),
    [
        ("add_webhookendpoint", {"create"}),
        ("change_webhookendpoint", {"test", "rotate", "disable", "enable"}),
        ("view_feedevent", {"create", "rotate", "disable", "enable"}),
    ],
)
def test_each_act_needs_the_rights_of_its_call(lacking, refused):
    endpoint = new_endpoint()
    client = client_with(*(one for one in RIGHTS if one != lacking))
    before = WebhookEndpoint.objects.values().get(pk=endpoint.pk)

    for name in ("create", "test", "rotate", "disable", "enable"):
        page = address(name, None if name == "create" else endpoint)
        assert client.get(page).status_code == (403 if name in refused else 200)
        if name in refused:
            assert client.post(page, FILLED | {"reason": WHY}).status_code == 403
    assert WebhookEndpoint.objects.values().get(pk=endpoint.pk) == before


def test_a_rotated_secret_is_shown_once_and_the_former_one_signs_on(operator):
    endpoint = new_endpoint()
    page = address("rotate", endpoint)
    sent = to_confirm(operator, page, reason=WHY)

    answers = [operator.post(page, sent) for _ in "12"]

    assert [answer.status_code for answer in answers] == [200, 302]
    changed = reloaded(endpoint)
    assert SECRET.findall(answers[0].text) == [changed.secret] != [endpoint.secret]
    assert endpoints.secrets_of(changed, changed.created_at) == [changed.secret, endpoint.secret]
    line = journal_line("webhook_endpoint.secret_rotated")
    assert line.detail == WHY and changed.secret not in str(line.after)


def test_it_is_disabled_and_enabled_for_the_operator_who_does_so(operator):
    endpoint = new_endpoint()
    assert "/disable/" in operator.get(address("change", endpoint)).text

    assert done(operator, address("disable", endpoint), reason=WHY) == [
        "The endpoint was changed: 93.184.216.34."
    ]
    assert reloaded(endpoint).disabled_by == "staff"
    page = operator.get(address("change", endpoint)).text
    assert "/enable/" in page and "/disable/" not in page and "/test/" not in page
    assert done(operator, address("enable", endpoint), reason=WHY) == [
        "The endpoint was changed: 93.184.216.34."
    ]

    enabled = reloaded(endpoint)
    lines = JournalLine.objects.filter(what="webhook_endpoint.changed").order_by("id")
    assert [(line.after["enabled"], line.detail) for line in lines] == [(False, WHY), (True, WHY)]
    assert (enabled.disabled_at, enabled.api_key_id, enabled.owner_id) == (None, None, lines[0].actor_id)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "There is no answer yet"),
        (
            {"status": "delivered", "next_attempt_at": None, "response_status": 204, "attempts": 1},
            "It works: the program answered 204.",
        ),
        (
            {"response_status": 500, "attempts": 1, "error": "HTTP 500"},
            "It doesn't work: the answer was 500.",
        ),
        ({"attempts": 1, "error": "no answer: connection refused"}, "no answer: connection refused"),
    ],
)
def test_a_test_shows_the_answer_of_the_endpoint(operator, monkeypatch, columns, said):
    endpoint, send = new_endpoint(), deliveries.send_test

    def sent_and_tried(**given) -> WebhookDelivery:
        row = send(**given)
        at = {"delivered_at": row.created_at} if columns.get("status") else {}
        WebhookDelivery.objects.filter(pk=row.pk).update(**columns, **at)
        return row

    monkeypatch.setattr(deliveries, "send_test", sent_and_tried)
    monkeypatch.setattr(endpoints_admin, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(endpoints_admin, "LOOK_SECONDS", 0.01)

    [text] = done(operator, address("test", endpoint))

    assert said in text
    assert journal_line("webhook_endpoint.tested").subject == f"webhook endpoint {endpoint.pk}"


def test_the_data_platform_has_no_buttons_and_is_left_as_it_is(operator):
    built_in = endpoints.get(endpoint_id=BUILT_IN)
    page = operator.get(address("change", built_in)).text

    for name in ("test", "rotate", "disable"):
        assert f"/{name}/" not in page
        [text] = done(operator, address(name, built_in), reason=WHY)
        assert "The data platform is set up by the settings" in text
    assert reloaded(built_in).secret == "" and reloaded(built_in).disabled_at is None


def test_every_type_of_event_can_be_chosen_and_every_choice_has_one():
    kinds = {f"{type.partition('.')[0]}.*" for type in catalogue.TYPES}
    assert kinds == {one for one in endpoints_admin.TOPICS if one.endswith(".*")}
    assert all(map(catalogue.is_pattern, endpoints_admin.TOPICS))
