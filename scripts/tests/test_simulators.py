"""What all simulators have in common: where they listen."""

from pathlib import Path

import pytest

from scripts.simulators import process
from scripts.stack import ports
from scripts.tests.simulator import running

ANOTHER_ADDRESS = "127.0.0.2"
"""Of this machine as well, and not the one that simulators listen on by default."""


@pytest.mark.parametrize("name", ["gateway", "data_platform", "partner"])
def test_a_simulator_listens_on_one_address_of_loopback_unless_host_opens_it_to_others(
    name: str, tmp_path: Path
):
    with running(name, tmp_path) as closed:
        assert not ports.answers((ANOTHER_ADDRESS, closed.port))
    with running(name, tmp_path, "--host", "0.0.0.0") as opened:
        assert ports.answers((ANOTHER_ADDRESS, opened.port))
        assert f"listening on http://0.0.0.0:{opened.port}" in opened.log.read_text()


def test_a_program_that_runs_a_simulator_may_set_its_default_host(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process, "HOST", "0.0.0.0")
    assert process.arguments("gateway", default_port=8001).parse_args(["--book", "book"]).host == "0.0.0.0"
