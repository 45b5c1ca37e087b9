"""Traces of real processes: a paid order is one connected trace, from its request to its payment."""

import pytest
from django.utils import timezone

from foundation.operations import dispatch
from foundation.tests.collector import collecting
from foundation.tests.racing import wait_until
from orders import tasks
from orders.models import Saga
from orders.tests import buying, observed_stack
from orders.tests.buying import order_of
from orders.tests.conftest import start_worker
from orders.tests.observed_stack import ObservedStack
from scripts.stack import children

pytestmark = pytest.mark.django_db(transaction=True)

TRACE_OF_CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
RECORDED, NOT_RECORDED = (f"00-{TRACE_OF_CALLER}-00f067aa0ba902b7-{flags}" for flags in ("01", "00"))
SERVER = 2
PLACING = "POST /api/v1/orders"
SENDING, PROCESSING = "send orders.advance", "process orders.advance"
CHARGING = "saga step charge_card do"


@pytest.fixture
def collector():
    with collecting() as found:
        yield found


@pytest.fixture
def traced(transactional_db, tmp_path, own_gateway, own_data_platform, collector):
    with observed_stack.running(tmp_path, own_gateway, own_data_platform, **settings_of(collector)) as stack:
        yield stack


def settings_of(collector) -> dict[str, str]:
    """The collector's address, and a short wait before spans are sent."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "100"}


def pay(stack: ObservedStack, *, wait=20, **headers: str):
    product, buyer = buying.product_and_buyer(on_hand=5, price=500)
    body = order_of(product, "tok_ok")
    headers = {"Idempotency-Key": "a", "Prefer": f"wait={wait}"} | headers
    answer = stack.post(buyer, "/orders", body, **headers)
    assert answer.status == (201 if wait else 202), answer.data
    return answer.json()


@pytest.mark.boots("a worker")
def test_a_paid_order_is_one_connected_trace(traced, collector):
    order = pay(traced)
    names = [PLACING, SENDING, PROCESSING, CHARGING, "saga step settle do"]
    request, send, process, charge, settle = collector.wait_for(*names)
    wait_until(lambda: collector.is_connected(request.trace))

    ours = collector.of_trace(request.trace)
    assert (request.parent, request.kind) == ("", SERVER)
    assert {span.process for span in ours} == {"web", "worker"}
    assert collector.ancestors(send) == [PLACING]
    assert collector.ancestors(process) == [SENDING, PLACING]
    assert collector.ancestors(charge) == [PLACING]
    assert collector.ancestors(settle) == ["saga batch", PLACING]
    commits = [collector.ancestors(span) for span in collector.named("COMMIT")]
    assert [one[0] for one in commits if one[-1] == PLACING].count("saga batch") >= 2
    assert any(one[0].startswith("batch") and one[1] == PLACING for one in commits)
    assert not any(span.is_error for span in ours)

    saga = Saga.objects.get()
    named = {"firstcome.order": order["id"], "firstcome.saga": str(saga.id)}
    assert request.attributes | named | {"firstcome.request_id": saga.request_id} == request.attributes
    assert charge.attributes | named == charge.attributes
    for process_name, event in (("web", "order placed"), ("worker", "saga ended")):
        [line] = [line for line in traced.lines(process_name) if line["event"] == event]
        assert line["trace_id"] == request.trace
    # Nothing that identifies a person, and nothing that opens or charges anything.
    text = "".join(span.text for span in collector.spans)
    assert not [word for word in ("tok_ok", "Bearer", "eyJ", "buyer", "@") if word in text]


@pytest.mark.boots("a web server")
def test_a_saga_whose_message_is_lost_continues_its_requests_trace(
    tmp_path, own_gateway, own_data_platform, collector, broker_server
):
    settings = settings_of(collector)
    with observed_stack.web(tmp_path, **settings) as web:
        pay(web, wait=0)
        collector.wait_for(SENDING)
    broker_server.flushdb()
    Saga.objects.update(next_attempt_at=timezone.now())
    worker = start_worker(tmp_path / "worker.log", own_gateway, own_data_platform, **settings)
    try:
        # This process records no trace, so the message has no `traceparent`.
        dispatch.enqueue(tasks.advance)
        [charge] = collector.wait_for(CHARGING)
    finally:
        children.stop(worker)
    [request] = collector.named(PLACING)
    assert (charge.trace, charge.parent, charge.process) == (request.trace, request.id, "worker")


@pytest.mark.boots("a web server")
def test_a_client_decides_neither_what_is_recorded_nor_in_which_trace(tmp_path, collector):
    settings = settings_of(collector) | {"OTEL_TRACES_SAMPLER_ARG": "0"}
    with observed_stack.web(tmp_path, **settings, OTEL_TRACES_SAMPLER="parentbased_traceidratio") as web:
        pay(web, wait=0, traceparent=RECORDED)
    assert collector.spans == []
    assert [saga.traceparent for saga in Saga.objects.all()] == [""]
    with observed_stack.web(tmp_path, **settings_of(collector)) as web:
        for header in (RECORDED, NOT_RECORDED):
            pay(web, wait=0, traceparent=header, tracestate=f"a={'b' * 200}")
    requests = collector.named(PLACING)
    assert [span.parent for span in requests] == ["", ""]
    assert collector.of_trace(TRACE_OF_CALLER) == []
    recorded = Saga.objects.exclude(traceparent="").values_list("traceparent", flat=True)
    assert sorted(one.split("-")[1] for one in recorded) == sorted(span.trace for span in requests)
    assert "bbbb" not in "".join(span.text for span in collector.spans)


@pytest.mark.boots("a worker")
def test_spans_are_sent_when_the_processes_stop(tmp_path, own_gateway, own_data_platform, collector):
    settings = settings_of(collector) | {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with observed_stack.running(tmp_path, own_gateway, own_data_platform, workers=2, **settings) as stack:
        pay(stack)
        assert collector.spans == []
    names = {(span.process, span.name) for span in collector.spans}
    assert names >= {("web", PLACING), ("web", SENDING), ("worker", PROCESSING), ("worker", CHARGING)}
