"""Who may read the metrics, and that every worker process is counted in."""

import re

import pytest
import urllib3
from django.conf import LazySettings
from django.test import Client

from shop.tests.outages import database_away

TOKEN = "a-long-token-for-metrics"


@pytest.mark.django_db
def test_this_machine_reads_them() -> None:
    answer = Client(REMOTE_ADDR="127.0.0.1").get("/metrics")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert b"# TYPE django_http_responses_total_by_status_view_method_total counter" in answer.content


@pytest.mark.django_db
def test_others_read_them_with_the_token(settings: LazySettings) -> None:
    settings.METRICS_TOKEN = TOKEN
    elsewhere = Client(REMOTE_ADDR="192.0.2.1")

    assert elsewhere.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"bearer{TOKEN}", "Bearer \xe9"])
def test_others_without_the_token_are_refused(settings: LazySettings, header: str) -> None:
    settings.METRICS_TOKEN = TOKEN

    refused = Client(REMOTE_ADDR="192.0.2.1").get("/metrics", headers={"Authorization": header})

    assert refused.status_code == 401
    assert refused.json()["code"] == "not_authenticated"


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer"])
def test_without_a_token_configured_others_are_refused_for_good(settings: LazySettings, header: str) -> None:
    settings.METRICS_TOKEN = ""

    refused = Client(REMOTE_ADDR="192.0.2.1").get("/metrics", headers={"Authorization": header})

    assert refused.status_code == 403
    assert refused.json()["code"] == "permission_denied"


def test_a_proxy_on_this_machine_opens_them_to_nobody() -> None:
    forwarded = Client(REMOTE_ADDR="127.0.0.1").get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"})

    assert forwarded.status_code == 403


@pytest.mark.django_db(transaction=True)
def test_without_a_database_the_counters_are_told_all_the_same() -> None:
    looking = Client(REMOTE_ADDR="127.0.0.1")
    assert b"\nfirstcome_events_queued 0.0\n" in looking.get("/metrics").content

    with database_away():
        answer = looking.get("/metrics")

    assert answer.status_code == 200
    assert b"django_http_responses_total_by_status_view_method_total" in answer.content
    assert b"firstcome_events_queued" not in answer.content


def answered_well(address: str) -> float:
    """How many requests all workers together have answered by 200."""
    text = urllib3.request("GET", f"{address}/metrics", retries=False).data.decode()
    counted = re.findall(
        r'^django_http_responses_total_by_status_view_method_total{.*status="200".*} (\S+)$', text, re.M
    )
    return sum(map(float, counted))


@pytest.mark.django_db(transaction=True)
def test_all_worker_processes_count_into_one_answer(live_web: str) -> None:
    urllib3.request("GET", f"{live_web}/healthz", retries=False)
    before = answered_well(live_web)
    for _ in range(20):
        # A connection each, so that both workers get some.
        assert urllib3.request("GET", f"{live_web}/healthz", retries=False).status == 200

    # The first look at the metrics has been counted since.
    assert answered_well(live_web) == before + 21
