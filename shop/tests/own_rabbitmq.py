"""A RabbitMQ of the test's own, which it may kill, freeze and start again; its queue stays.

Import `rabbitmq_process` and `own_rabbitmq` from here.
"""

import secrets
from collections.abc import Iterator

import pytest
from urllib3 import PoolManager, make_headers

from scripts.stack import ports, rabbitmq
from scripts.stack.rabbitmq import QUEUE, USER, Node, RunningNode, channel_of
from shop.tests.racing import wait_until

QUORUM = {"x-queue-type": "quorum"}


class OwnRabbitMQ(RunningNode):
    """One node of RabbitMQ, running unless it was killed, and what is in its queue."""

    def empty(self) -> None:
        """Remove the queue, with its messages."""
        with channel_of(self.node.url) as channel:
            channel.queue_delete(QUEUE)

    def make_queue(self) -> None:
        """Make the queue, and wait until a crash would not lose it.

        RabbitMQ confirms messages on disk, but writes the name of a new quorum queue there half a second
        later; without its name the queue is empty after a crash.
        """
        with channel_of(self.node.url) as channel:
            channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments=QUORUM)
        [names] = self.node.folder.glob("mnesia/*/quorum/*/names.dets")
        wait_until(lambda: QUEUE.encode() in names.read_bytes(), seconds=30)

    def queue_type(self) -> str:
        """`classic` or `quorum`."""
        headers = make_headers(basic_auth=f"{USER}:{self.node.password}")
        with PoolManager(timeout=5) as http:
            return str(
                http.request("GET", f"{self.node.management_url}/queues/%2F/{QUEUE}", headers=headers).json()[
                    "type"
                ]
            )

    def messages(self) -> int:
        """How many messages of the queue wait for a worker."""
        with channel_of(self.node.url) as channel:
            return int(channel.queue_declare(QUEUE, passive=True).message_count)

    def has_worker(self) -> bool:
        """Whether a worker takes messages from the queue."""
        return rabbitmq.has_worker(self.node.url)


@pytest.fixture(scope="module")
def rabbitmq_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRabbitMQ]:
    """A RabbitMQ for all tests of a module, because it takes seconds to start and to stop."""
    folder = tmp_path_factory.mktemp("rabbitmq")
    node = Node(folder=folder, first_port=ports.free(Node.PORTS), password=secrets.token_hex(20))
    server = OwnRabbitMQ(node)
    try:
        yield server
    finally:
        server.end()


@pytest.fixture
def own_rabbitmq(rabbitmq_process: OwnRabbitMQ) -> Iterator[OwnRabbitMQ]:
    """A running RabbitMQ with an empty queue."""
    rabbitmq_process.empty()
    try:
        yield rabbitmq_process
    finally:
        rabbitmq_process.thaw()
