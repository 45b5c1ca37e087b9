"""Orders with RabbitMQ as the broker: a real web server and worker, a quorum queue, and a node that dies."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from urllib3 import PoolManager, make_headers

from foundation.tests.beats import beat
from foundation.tests.factories import AccountFactory
from foundation.tests.racing import wait_until
from foundation.tests.second_process import another_process, read_line
from inventory.tests.factories import ProductFactory
from lab.stack.rabbitmq import USER, RunningNode
from orders.models import Order, Saga
from orders.tests import buying, observed_stack, rabbitmq
from orders.tests.observed_stack import ObservedStack
from orders.tests.rabbitmq import QUEUE, channel_of
from scripts.stack import own_stack, ports
from scripts.tests.circles import boots

QUORUM = {"x-queue-type": "quorum"}


class OwnRabbitMQ(RunningNode):
    """One node of RabbitMQ, running unless it was killed, and what is in its queue."""

    def empty(self):
        """Remove the queue, with its messages."""
        with channel_of(self.url) as channel:
            channel.queue_delete(QUEUE)

    def make_queue(self):
        """Make the queue, and wait until a crash would not lose it.

        RabbitMQ confirms messages on disk, but writes the name of a new quorum queue there half a second
        later; without its name the queue is empty after a crash. The name stands beside the queue's own
        identifier, as the one of a removed queue of this name may still be there.
        """
        with channel_of(self.url) as channel:
            channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments=QUORUM)
        [names] = self.folder.glob("mnesia/*/quorum/*/names.dets")
        [identifier] = [path.name for path in names.parent.iterdir() if path.is_dir()]
        wait_until(lambda: identifier.encode() in names.read_bytes(), seconds=30)

    def queue_type(self) -> str:
        """`classic` or `quorum`."""
        headers = make_headers(basic_auth=f"{USER}:{self.password}")
        with PoolManager(timeout=5) as http:
            url = f"http://{ports.HOST}:{self.management_port}/api/queues/%2F/{QUEUE}"
            return str(http.request("GET", url, headers=headers).json()["type"])

    def messages(self) -> int:
        """How many messages of the queue wait for a worker."""
        with channel_of(self.url) as channel:
            return int(channel.queue_declare(QUEUE, passive=True).message_count)


@pytest.fixture(scope="module")
def rabbitmq_process(tmp_path_factory):
    """A RabbitMQ for all tests of a module, because it takes seconds to start and to stop."""
    server = OwnRabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    try:
        yield server
    finally:
        server.end()


@pytest.fixture
def own_rabbitmq(rabbitmq_process):
    """A running RabbitMQ with an empty queue."""
    rabbitmq_process.empty()
    try:
        yield rabbitmq_process
    finally:
        rabbitmq_process.thaw()


pytestmark = pytest.mark.django_db(transaction=True)
BUYERS, SETTLE_SECONDS = 8, 60
# Sends so many tasks, and then says how many of them the broker has confirmed.
SEND = """
from orders import tasks
from foundation.operations import dispatch

sent = [dispatch.send_to_broker(tasks.advance, []) for _message in range(int(sys.argv[1]))]
print("ready", flush=True)
print(sum(sent), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
@boots("RabbitMQ, a web server and workers")
def stack_settings(transactional_db, own_rabbitmq, own_gateway):
    """RabbitMQ as the broker, and no limits on how often an account calls."""
    gateway = f"http://{ports.HOST}:{own_gateway.port}"
    return {"GATEWAY_URL": gateway} | own_stack.NO_RATES | own_rabbitmq.settings


@pytest.fixture
def stack(stack_settings, own_gateway, own_data_platform, tmp_path):
    """A web server and a worker; nothing sweeps, unless the test starts beat."""
    with observed_stack.running(tmp_path, own_gateway, own_data_platform, **stack_settings) as found:
        yield found


@pytest.fixture
def web(stack_settings, tmp_path):
    """A web server without a worker."""
    with observed_stack.web(tmp_path, **stack_settings) as found:
        yield found


def buy(stack: ObservedStack, buyer, product, *, wait=5) -> int:
    """Place an order with a payment, and wait for its end for so many seconds; the answer's status."""
    body = buying.order_of(product, "tok_ok")
    return stack.post(buyer, "/orders", body, key=str(uuid4()), Prefer=f"wait={wait}").status


def is_settled() -> bool:
    return not Saga.objects.filter(ended_at=None).exists()


def tasks_done(stack: ObservedStack) -> int:
    """How many tasks that move orders on the worker has finished."""
    return sum(
        line.get("event", "").startswith("Task orders.advance") and "succeeded" in line["event"]
        for line in stack.lines("worker")
    )


def said_in_web(stack: ObservedStack, event: str) -> bool:
    return any(line.get("event") == event for line in stack.lines("web"))


@pytest.mark.boots("a program")
def test_the_worker_takes_the_orders_from_a_quorum_queue(stack, own_rabbitmq):
    product = ProductFactory(on_hand=BUYERS)
    buyers = AccountFactory.create_batch(BUYERS)
    with ThreadPoolExecutor(BUYERS) as pool:
        statuses = Counter(pool.map(lambda buyer: buy(stack, buyer, product), buyers))

    assert statuses == {201: BUYERS}
    wait_until(is_settled, seconds=SETTLE_SECONDS)
    assert set(Order.objects.values_list("status", flat=True)) == {"paid"}
    wait_until(lambda: tasks_done(stack) > 0)
    assert not said_in_web(stack, "broker unavailable, running here")
    assert own_rabbitmq.queue_type() == "quorum"


def test_orders_go_on_while_the_broker_is_killed_and_back_and_the_worker_returns_to_it(
    stack, stack_settings, own_rabbitmq, tmp_path
):
    product = ProductFactory(on_hand=10_000)
    buyers = AccountFactory.create_batch(BUYERS)
    ended = threading.Event()

    def buy_until_ended(buyer):
        statuses = []
        while not ended.is_set():
            statuses.append(buy(stack, buyer, product))
        return statuses

    settings = dict(stack_settings)
    with beat(tmp_path, settings.pop("BROKER_URL"), **settings), ThreadPoolExecutor(BUYERS) as pool:
        running = [pool.submit(buy_until_ended, buyer) for buyer in buyers]
        try:
            for _ in range(2):
                at_least(BUYERS)
                own_rabbitmq.kill()
                at_least(BUYERS)
                own_rabbitmq.start()
        finally:
            ended.set()
        statuses = Counter(status for one in running for status in one.result())
        wait_until(is_settled, seconds=SETTLE_SECONDS)

    assert set(statuses) <= {201, 202}, statuses
    assert Order.objects.filter(status="paid").count() == statuses.total()
    assert said_in_web(stack, "broker unavailable, running here")
    wait_until(lambda: rabbitmq.has_worker(own_rabbitmq.url), seconds=30)
    before = tasks_done(stack)
    # The web process tries the broker again 3 s after a failure.
    wait_until(lambda: buy(stack, buyers[0], product) == 201 and tasks_done(stack) > before, seconds=30)


def at_least(orders: int):
    """Wait until so many more orders are paid."""
    before = Order.objects.filter(status="paid").count()
    wait_until(lambda: Order.objects.filter(status="paid").count() >= before + orders, seconds=30)


@pytest.mark.boots("RabbitMQ")
def test_confirmed_messages_are_there_after_a_kill(db, own_rabbitmq):
    own_rabbitmq.make_queue()
    with another_process(SEND, "50", **own_rabbitmq.settings) as sender:
        assert int(read_line(sender)) == 50
        own_rabbitmq.kill()
    own_rabbitmq.start()

    wait_until(lambda: own_rabbitmq.messages() == 50, seconds=20)


def test_what_a_frozen_broker_does_not_confirm_is_done_in_the_web_process(web, own_rabbitmq):
    own_rabbitmq.make_queue()
    product, buyer = buying.product_and_buyer(on_hand=5)
    assert buy(web, buyer, product, wait=0) == 202
    wait_until(lambda: own_rabbitmq.messages() == 1)
    own_rabbitmq.freeze()

    assert buy(web, buyer, product, wait=20) == 201

    assert said_in_web(web, "broker unavailable, running here")
    own_rabbitmq.thaw()
    # It does all that is due, and so the first one, too.
    wait_until(lambda: Counter(Order.objects.values_list("status", flat=True)) == {"paid": 2})
