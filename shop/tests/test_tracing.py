"""Traces of single processes: none without an endpoint, shared batches, and collectors that fail."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import urllib3
from django.contrib.auth.models import User

from accounts.tokens import token_pairs
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.own_issuer import OwnIssuer
from foundation.tests.collector import collecting
from foundation.tests.live import serving, web
from foundation.tests.outages import nowhere
from foundation.tests.racing import race
from scripts.stack import children, ports

pytestmark = pytest.mark.django_db(transaction=True)

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
ISSUING = "POST /api/v1/coupons"
HTTP = urllib3.PoolManager(maxsize=32, retries=False, timeout=30)
CONSUMER = 5


@pytest.fixture
def collector():
    with collecting() as found:
        yield found


@contextmanager
def hanging() -> Iterator[str]:
    with socket.create_server((ports.HOST, 0), backlog=128) as listener:
        yield f"http://{ports.HOST}:{listener.getsockname()[1]}"


@contextmanager
def away() -> Iterator[str]:
    yield nowhere()


def issue(address: str, campaign, user_id: int, **headers: str):
    access = token_pairs.create_access_token(User.objects.get(pk=user_id))
    return HTTP.request(
        "POST",
        f"{address}/api/v1/coupons",
        json={"campaign": campaign.pk},
        headers={"Authorization": f"Bearer {access}"} | headers,
    )


@pytest.mark.boots("a web server")
def test_without_an_endpoint_opentelemetry_is_not_imported(tmp_path):
    application = "shop.tests.modules_application:application"
    campaign, [user_id] = CampaignFactory(), accounts(1)
    with web(tmp_path, workers=1, application=application, **{ENDPOINT: ""}) as address:
        assert issue(address, campaign, user_id).status == 201
        modules = HTTP.request("GET", f"{address}/test/modules").data.decode().split()
    assert "foundation.observability.tracing" in modules
    assert [name for name in modules if name.split(".")[0] == "opentelemetry"] == []


@pytest.mark.boots("a web server")
def test_a_batch_is_linked_to_the_traces_of_all_its_requests(tmp_path, collector):
    campaign = CampaignFactory()
    user_ids = accounts(16)
    with web(tmp_path, workers=1, **{ENDPOINT: collector.address}) as address:
        calls = [partial(issue, address, campaign, user_id) for user_id in user_ids]
        assert {answer.status for answer in race(calls)} == {201}
    requests = collector.named(ISSUING)
    assert len({span.trace for span in requests}) == len(user_ids)
    assert {span.attributes["firstcome.account"] for span in requests} == set(user_ids)
    assert {span.attributes["firstcome.campaign"] for span in requests} == {campaign.pk}
    shared = [span for span in collector.spans if span.name.startswith("batch") and len(span.links) > 1]
    assert shared
    for batch in shared:
        # Every request of the batch sees it in its own trace, and the trace that shows its statements.
        parts = [one for one in collector.named(batch.name) if one.links == (batch.trace,)]
        assert {one.trace for one in parts} >= set(batch.links)
        assert batch.attributes["firstcome.batch.requests"] == len(batch.links) + 1
    # Look-ups that requests share have no transaction.
    with_commit = {one.parent for one in collector.named("COMMIT")}
    assert any(batch.id in with_commit for batch in shared)


@pytest.mark.boots("a web server")
@pytest.mark.parametrize("collector_at", [hanging, away])
def test_a_collector_that_fails_delays_no_request_and_no_stop(tmp_path, collector_at):
    campaign = CampaignFactory()
    bounds = {"OTEL_BSP_MAX_QUEUE_SIZE": "16", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8"}
    with collector_at() as endpoint, serving(tmp_path, workers=1, **{ENDPOINT: endpoint} | bounds) as server:
        slowest = 0.0
        for user_id in accounts(60):
            began_at = time.monotonic()
            assert issue(server.address, campaign, user_id).status == 201
            slowest = max(slowest, time.monotonic() - began_at)
        began_at = time.monotonic()
        children.stop(server.child)
        stopping = time.monotonic() - began_at
    assert slowest < 1.0
    assert (server.child.returncode, stopping < 4.0) == (0, True)
    # The dropped spans are mentioned, and not for each request.
    complaints = [line for line in (tmp_path / "web.log").read_text().splitlines() if "opentelemetry" in line]
    assert 1 <= len(complaints) <= 4


@pytest.mark.boots("a web server")
def test_an_issuer_records_the_tickets_that_it_settles(tmp_path, collector):
    campaign, [user_id] = CampaignFactory(strategy="queue"), accounts(1)
    settings = {ENDPOINT: collector.address, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with web(tmp_path, workers=1, **settings) as address:
        answer = issue(address, campaign, user_id, **{"X-Request-ID": "the-ticket's".replace("'", "-")})
        assert answer.status == 202
        collector.wait_for(ISSUING)
    issuer = OwnIssuer(tmp_path, **settings)
    issuer.start()
    try:
        [settled] = collector.wait_for("process queue tickets")
    finally:
        assert issuer.stop() == 0
    [request] = collector.named(ISSUING)
    assert (settled.process, settled.kind, settled.links) == ("issuer", CONSUMER, (request.trace,))
    own = {
        "firstcome.campaign": campaign.pk,
        "firstcome.account": user_id,
        "firstcome.request_id": "the-ticket-s",
    }
    assert settled.attributes | own == settled.attributes
    assert "COMMIT" in {span.name for span in collector.spans if span.parent == settled.id}
