"""The loader of open connections against a server whose every answer is known."""

import asyncio
import resource
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from scripts.bench.workloads import connections
from scripts.bench.workloads.connections import open_and_send, request
from scripts.stack import ports

CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
Answer = Callable[[int, bytes], list[bytes]]


class Shop:
    """Remembers what each connection requested."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requested: list[bytes] = []
        self.port = 0
        self.started = threading.Event()
        self.loop = asyncio.new_event_loop()

    def serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        serving = asyncio.start_server(self.serve_connection, ports.HOST, 0, backlog=1_000)
        server = self.loop.run_until_complete(serving)
        self.port = server.sockets[0].getsockname()[1]
        self.started.set()
        self.loop.run_forever()

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        requested = head + await reader.readexactly(length)
        self.requested.append(requested)
        for part in self.answer(len(self.requested), requested):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        if not self.answer(len(self.requested), requested):
            writer.close()


@pytest.fixture
def serving() -> Iterator[Callable[[Answer], Shop]]:
    shops: list[tuple[Shop, threading.Thread]] = []

    def serve(answer: Answer) -> Shop:
        shop = Shop(answer)
        thread = threading.Thread(target=shop.serve, daemon=True)
        thread.start()
        shops.append((shop, thread))
        assert shop.started.wait(10)
        return shop

    yield serve
    for shop, thread in shops:
        shop.loop.call_soon_threadsafe(shop.loop.stop)
        thread.join(10)


def asking(number: int) -> list[bytes]:
    return [request("/api/v1/coupons", '{"campaign": 7}', access=f"token-{one}") for one in range(number)]


def test_each_sends_one_request(serving):
    shop = serving(lambda number, requested: [CREATED])
    came = open_and_send(shop.port, asking(600))
    assert (came.refused, came.statuses) == (0, {201: 600})
    assert sorted(shop.requested) == sorted(asking(600))
    assert 0 < came.percentile_ms(0.5) <= came.percentile_ms(1)


def test_a_request_has_its_own_headers():
    requested = request("/api/v1/orders", "{}", access="one", headers={"Prefer": "wait=30"})
    assert b"\r\nPrefer: wait=30\r\n" in requested.partition(b"\r\n\r\n")[0]


def test_no_request_is_sent_before_all_are_open():
    """The listen queue holds one more than its length: with one accepted, one is outside until another is."""
    number = connections.AT_ONCE + 3
    with (
        socket.create_server((ports.HOST, 0), backlog=connections.AT_ONCE) as listening,
        ThreadPoolExecutor(1) as loader,
    ):
        listening.settimeout(10)
        came = loader.submit(open_and_send, listening.getsockname()[1], asking(number))
        first, _ = listening.accept()
        with selectors.DefaultSelector() as selector:
            selector.register(first, selectors.EVENT_READ)
            early = selector.select(0.5)
        callers = [first, *(listening.accept()[0] for _ in range(number - 1))]
        for caller in callers:
            caller.sendall(CREATED)
        assert came.result(20).statuses == {201: number}
        assert early == []
        for caller in callers:
            caller.close()


def test_answers_are_counted_by_status_and_say_when_to_come_again(serving):
    shop = serving(lambda number, requested: [BUSY if number % 4 == 0 else CREATED])
    came = open_and_send(shop.port, asking(40))
    assert came.statuses == {201: 30, 503: 10}
    assert all(answer.has_retry_after == (answer.status == 503) for answer in came.answers)


def test_an_answer_counts_when_its_last_byte_is_there(serving):
    shop = serving(lambda number, requested: [CREATED[:20], CREATED[20:-1], CREATED[-1:]])
    came = open_and_send(shop.port, asking(3))
    assert came.statuses == {201: 3}
    assert came.percentile_ms(0) >= 20


def test_a_connection_that_is_hung_up_on_has_no_answer(serving):
    shop = serving(lambda number, requested: [] if number == 2 else [CREATED])
    assert open_and_send(shop.port, asking(3)).statuses == {0: 1, 201: 2}


def test_connections_that_are_not_accepted_are_refused():
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))  # and doesn't listen
        came = open_and_send(taken.getsockname()[1], asking(5))
    assert (came.refused, list(came.answers)) == (5, [])


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes():
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, most))
        assert connections.allowed(1_000) == 1_000
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1_500
        assert connections.allowed(10**9) == most - connections.OTHER_FILES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
