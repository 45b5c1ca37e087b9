"""A RabbitMQ of the test's own, which it may kill, freeze and start again; its queue stays.

Import `rabbitmq_process` and `own_rabbitmq` from here.
"""

import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import amqp
import pytest
from kombu import Connection
from urllib3 import PoolManager, make_headers

from scripts.stack import children, ports
from scripts.stack.rabbitmq import USER, Node
from shop.tests.racing import wait_until

QUEUE, QUORUM = "celery", {"x-queue-type": "quorum"}
STOP_SECONDS = 20


class OwnRabbitMQ:
    """One node of RabbitMQ, running unless it was killed."""

    def __init__(self, folder: Path) -> None:
        self._node = Node(folder=folder, first_port=ports.free(Node.PORTS), password=secrets.token_hex(20))
        self._node.prepare()
        self._epmd = self._node.start_epmd()
        self._child: Popen[bytes] | None = None
        self.start()

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a process of the shop with a quorum queue there."""
        return {"BROKER_URL": self._node.url, "BROKER_QUEUE_TYPE": "quorum"}

    def start(self) -> None:
        self._child = self._node.start()

    def kill(self) -> None:
        """End it like a crash."""
        assert self._child
        self._child.kill()
        self._child.wait()

    def freeze(self) -> None:
        """It keeps its connections, and answers nothing."""
        assert self._child
        self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on; start it, if it was killed."""
        assert self._child
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGCONT)
        else:
            self.start()

    def empty(self) -> None:
        """Remove the queue, with its messages."""
        with _channel(self._node.url) as channel:
            channel.queue_delete(QUEUE)

    def end(self) -> None:
        assert self._child
        children.stop(self._child, within_seconds=STOP_SECONDS)
        children.stop(self._epmd)

    def make_queue(self) -> None:
        """Make the queue, and wait until a crash would not lose it.

        RabbitMQ confirms messages on disk, but writes the name of a new quorum queue there half a second
        later; without its name the queue is empty after a crash.
        """
        with _channel(self._node.url) as channel:
            channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments=QUORUM)
        [names] = self._node.folder.glob("mnesia/*/quorum/*/names.dets")
        wait_until(lambda: QUEUE.encode() in names.read_bytes(), seconds=30)

    def queue_type(self) -> str:
        """`classic` or `quorum`."""
        headers = make_headers(basic_auth=f"{USER}:{self._node.password}")
        with PoolManager(timeout=5) as http:
            return str(
                http.request(
                    "GET", f"{self._node.management_url}/queues/%2F/{QUEUE}", headers=headers
                ).json()["type"]
            )

    def messages(self) -> int:
        """How many messages of the queue wait for a worker."""
        with _channel(self._node.url) as channel:
            return int(channel.queue_declare(QUEUE, passive=True).message_count)

    def has_worker(self) -> bool:
        """Whether a worker takes messages from the queue."""
        return has_worker(self._node.url)


def has_worker(url: str) -> bool:
    """Whether a worker takes messages from the queue of the RabbitMQ at this address."""
    try:
        with _channel(url) as channel:
            return int(channel.queue_declare(QUEUE, passive=True).consumer_count) > 0
    except (amqp.NotFound, OSError):
        return False


@contextmanager
def _channel(url: str) -> Iterator[Any]:
    with Connection(url, connect_timeout=2) as connection, connection.channel() as channel:
        yield channel


@pytest.fixture(scope="module")
def rabbitmq_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRabbitMQ]:
    """A RabbitMQ for all tests of a module, because it takes seconds to start and to stop."""
    server = OwnRabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
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
