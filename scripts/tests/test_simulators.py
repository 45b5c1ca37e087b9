"""The simulators as processes: what they remember after a kill, how they end, and what stops their start."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from signal import SIGINT, SIGTERM

import pytest
import urllib3

from scripts.stack import ports
from scripts.tests.simulator import everything, running, wait_until
from scripts.tests.test_gateway_simulator import charge, found

pytestmark = pytest.mark.boots("simulators that are killed, signalled or refused")
ANOTHER_ADDRESS = "127.0.0.2"
"""Of this machine as well, and not the one that simulators listen on by default."""
ENDS_WITHIN = 2


def test_whatever_was_answered_before_a_kill_is_in_the_book(tmp_path):
    with running("gateway", tmp_path, "--latency-ms", "2") as gateway, ThreadPoolExecutor(16) as pool:
        charging = [pool.submit(charge, gateway, f"key-{number}", "tok_ok") for number in range(5000)]
        wait_until(lambda: gateway.get("/summary")[1]["charges"] > 200)
        gateway.child.kill()
        for one in charging:
            one.cancel()
    answered = [one.result()[1] for one in charging if not one.cancelled() and one.exception() is None]
    assert 100 < len(answered) < 5000
    with running("gateway", tmp_path) as again:
        book = {row["id"]: row for row in everything(again, "/charges")}
        assert [row for row in answered if book.get(row["id"]) != row] == []
        assert again.get("/summary")[1]["charged_amount"] == 1000 * len(book)


@pytest.mark.parametrize("signal", [SIGTERM, SIGINT])
def test_a_signal_ends_it_promptly_without_an_answer_to_waiting_calls(tmp_path, signal):
    with running("gateway", tmp_path) as gateway, ThreadPoolExecutor() as pool:
        waiting = pool.submit(charge, gateway, "charged", "tok_timeout_charged")
        wait_until(lambda: bool(found(gateway, "charged")))
        gateway.child.send_signal(signal)
        assert gateway.child.wait(ENDS_WITHIN) == 0
        assert isinstance(waiting.exception(), urllib3.exceptions.ProtocolError)
    log = gateway.log.read_text()
    assert f"running on http://127.0.0.1:{gateway.port} " in log and "ERROR" not in log


@pytest.mark.parametrize("name", ["gateway", "data_platform", "partner"])
def test_a_simulator_listens_on_one_address_of_loopback_unless_host_opens_it_to_others(name, tmp_path):
    with running(name, tmp_path) as closed:
        assert not ports.answers((ANOTHER_ADDRESS, closed.port))
        words = ["--port", str(closed.port), "--book", str(tmp_path / "second.sqlite3")]
        command = [sys.executable, "-m", f"scripts.simulators.{name}", *words]
        second = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=20, check=False)
        assert second.returncode != 0
        assert f"('127.0.0.1', {closed.port}): address already in use" in second.stderr
    with running(name, tmp_path, "--host", "0.0.0.0") as opened:
        assert ports.answers((ANOTHER_ADDRESS, opened.port))
        assert f"running on http://0.0.0.0:{opened.port} " in opened.log.read_text()


def test_no_simulator_loads_django():
    names = ", ".join(f"scripts.simulators.{one}" for one in ("gateway", "data_platform", "partner"))
    program = f"import sys, {names}; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
