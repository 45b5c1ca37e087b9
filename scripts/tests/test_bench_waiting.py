"""The loader of buyers who wait, against a server whose answers are held, and what the row is made of."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.bench import watching
from scripts.bench.load import Figures, Run
from scripts.bench.report import page
from scripts.bench.rows import NULL_WAITING, WAITING, WAITING_CORES, WAITING_KIB
from scripts.bench.workloads import connections, waiting
from scripts.bench.workloads.connections import Answer, Answers
from scripts.bench.workloads.waiting import Waited
from scripts.stack import places, ports, process_identity
from scripts.stack.instance import Instance

PAID = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
REQUEST = connections.request("/api/v1/orders", "{}", access="token")


class Shop:
    """Places each order as it comes, and answers all of them once they are settled."""

    def __init__(self) -> None:
        self.placed = 0
        self.settled = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        self.placed += 1
        await self.settled.wait()
        writer.write(PAID)
        writer.close()

    async def open(self) -> tuple[asyncio.Server, int]:
        """The server, and its port."""
        server = await asyncio.start_server(self.serve, ports.HOST, 0, backlog=1_000)
        return server, server.sockets[0].getsockname()[1]


def test_all_wait_at_once_and_are_answered_when_their_payments_settle():
    async def load(number: int = 900) -> tuple[int, int, list[Answer]]:
        shop = Shop()
        server, port = await shop.open()
        callers, refused = await waiting.send_paced(port, [REQUEST] * number, lambda: shop.placed)
        unanswered = sum(not caller.answered.done() for caller in callers)
        shop.settled.set()
        answers = await connections.read_answers(callers, within_seconds=10)
        server.close()
        return refused, unanswered, answers

    refused, unanswered, answers = asyncio.run(load())
    assert (refused, unanswered) == (0, 900)
    assert [answer.status for answer in answers] == [201] * 900


def test_connections_that_are_not_accepted_are_counted():
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))  # and doesn't listen
        port = taken.getsockname()[1]
        sent = asyncio.run(waiting.send_paced(port, [REQUEST] * 5, lambda: 0, within_seconds=0.2))
    assert sent == ([], 5)


def test_no_more_orders_are_under_way_than_the_shop_can_take_up():
    async def load(number: int) -> tuple[int, int, int]:
        shop = Shop()
        server, port = await shop.open()
        callers, _ = await waiting.send_paced(port, [REQUEST] * number, lambda: 0, within_seconds=1)
        placed = shop.placed
        answers = await connections.read_answers(callers, within_seconds=0.1)
        server.close()
        return len(callers), placed, sum(answer.status == 0 for answer in answers)

    few = waiting.UNPLACED
    assert asyncio.run(load(few + 50)) == (few, few, few)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[tuple[Instance, subprocess.Popen[bytes]]]:
    """A process that is the worker of an instance."""
    (tmp_path / "run").mkdir()
    code = (
        "import sys; from pathlib import Path; from scripts.stack import process_identity\n"
        "process_identity.write(Path(sys.argv[1]), 'worker')\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        cwd=places.PROJECT,
        env=os.environ | {process_identity.MARK: str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdout.readline() == b"ready\n"
    yield Instance(home=tmp_path, port=1, database="mariadb"), child
    child.communicate(timeout=20)


def test_the_worker_stands_still_and_goes_on_even_after_an_error(worker):
    instance, child = worker
    with pytest.raises(ValueError, match="it broke"), watching.stopped_worker(instance):
        assert becomes(child.pid, "T")
        raise ValueError("it broke")
    assert becomes(child.pid, "S")


def becomes(pid: int, state: str, *, within_seconds: float = 10) -> bool:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[0] == state:
            return True
    return False


def test_memory_is_that_of_the_load_and_not_of_the_time_before(worker):
    """The most of this process so far is forgotten; what is shared counts once over all processes."""
    pid = os.getpid()
    held = bytearray(64 << 20)
    before = watching.peak_mib([pid])
    del held
    watching.forget_peaks([pid])
    assert watching.peak_mib([pid]) < before - 50
    alone = watching.shared_out_kib([worker[1].pid])
    assert 1_000 < alone < watching.shared_out_kib([worker[1].pid, pid])
    assert watching.shared_out_kib([2**22 + 1]) == 0


def waited(*statuses: int, refused: int = 0) -> Waited:
    return Waited(
        at_once=2,
        kib=50,
        cores={"web": 0.05},
        null_p95_ms=5,
        came=Answers(
            refused=refused,
            answers=[Answer(status=status, has_retry_after=False, seconds=1) for status in statuses],
            seconds=20,
        ),
    )


@pytest.mark.parametrize(
    ("came", "placed", "paid", "says"),
    [
        (waited(201, 201, 202), 3, 3, ""),
        (waited(201, 201, 202, refused=1), 3, 3, "1 connections were refused"),
        (waited(201, 202, 0), 3, 3, "1 requests were left without an answer"),
        (waited(201, 202, 503), 2, 2, "other than 201, 202: 1 x 503"),
        (waited(201, 202, 202), 2, 2, "3 orders were answered, 2 are placed"),
        (waited(201, 202, 202), 3, 2, "3 are placed, and 2 paid"),
        (waited(201), 2, 2, "1 orders were answered, 2 are placed"),
    ],
)
def test_what_must_not_become_of_buyers_who_wait(came: Waited, placed: int, paid: int, says: str):
    found = list(waiting.findings(came, placed=placed, paid=paid))
    assert (len(found), says in "".join(found)) == (1 if says else 0, True)


def test_the_row_of_buyers_that_wait_has_its_goals_beside_its_figures():
    figures = Figures(seconds=1, requests=3, errors=0, statuses={}, p50_ms=1, p95_ms=1, max_ms=1, k6_cores=0)
    others = {WAITING: 10_000, WAITING_KIB: 21.26, WAITING_CORES: 0.08, NULL_WAITING: 1.2}
    measured = waiting.row(Run(row=WAITING, figures=figures, others=others, says="all were answered"))
    reported = {
        "row": WAITING,
        "figures": measured.figures,
        "spread": {},
        "goals": page.judged(WAITING, measured.figures),
        "says": measured.says,
    }
    assert list(page.lines([reported])) == [
        ("buyers who wait for their payment", "10,000 wait at once", "", ""),
        ("", "21.3 KiB of the web processes each", "< 32.0", "yes"),
        ("", "0.08 of a core while they wait", "< 0.10", "yes"),
        ("", "1.20 × p95 of a null call alone", "< 1.50", "yes"),
        ("", "all were answered", "", ""),
    ]
