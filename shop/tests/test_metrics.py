"""Access to the metrics, and that they contain every worker process."""

import pytest
from django.conf import LazySettings
from django.test import Client

from shop.tests.outages import database_away
from shop.tests.racing import wait_until

TOKEN = "a-long-token-for-metrics"


@pytest.mark.django_db
def test_requests_from_this_machine_and_those_with_the_token_may_read_them(settings: LazySettings) -> None:
    answer = Client(REMOTE_ADDR="127.0.0.1").get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert b"# TYPE django_http_responses_total_by_status_view_method_total counter" in answer.content

    settings.METRICS_TOKEN = TOKEN
    elsewhere = Client(REMOTE_ADDR="192.0.2.1")
    assert elsewhere.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    ("token", "status", "code"), [(TOKEN, 401, "not_authenticated"), ("", 403, "permission_denied")]
)
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer wrong", f"bearer{TOKEN}", "Bearer \xe9"])
def test_other_machines_without_the_token_are_refused(
    settings: LazySettings, token: str, status: int, code: str, header: str
) -> None:
    settings.METRICS_TOKEN = token

    refused = Client(REMOTE_ADDR="192.0.2.1").get("/metrics", headers={"Authorization": header})

    assert (refused.status_code, refused.json()["code"]) == (status, code)


def test_requests_through_a_proxy_on_this_machine_are_forbidden() -> None:
    forwarded = Client(REMOTE_ADDR="127.0.0.1").get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"})

    assert forwarded.status_code == 403


@pytest.mark.django_db(transaction=True)
def test_without_a_database_the_counters_are_exposed_all_the_same() -> None:
    client = Client(REMOTE_ADDR="127.0.0.1")
    # What takes longer than a second to read, as it may on a busy machine, is left out of a scrape.
    wait_until(lambda: b"\nfirstcome_events_queued 0.0\n" in client.get("/metrics").content)

    with database_away():
        answer = client.get("/metrics")

    assert answer.status_code == 200
    assert b"django_http_responses_total_by_status_view_method_total" in answer.content
    # The counter of failed readings names gauges, too.
    assert b"\nfirstcome_events_queued " not in answer.content
