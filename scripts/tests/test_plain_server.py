"""The shop on a plain server, by ops/systemd and the page alone: a bare Debian that systemd has booted.

Its commands are pasted as docs/operations.md has them. It has a network of its own without a way out, but for
the steps that fetch packages.
"""

import faulthandler
import functools
import re
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lab.containers import engine
from scripts.stack import SetupError, children, waiting
from scripts.stack.system_packages import Root
from scripts.tests import documented, programs
from scripts.tests.circles import boots
from scripts.tests.test_howto import copy_project

pytestmark = pytest.mark.long
SERVICES = ("web", "worker", "beat", "issuer")
UNITS = ("haproxy", *(f"firstcome-{name}" for name in SERVICES))
SCRIPT = Path(__file__).with_name("plain_server.sh")
BARE = Root(
    name="plain-server",
    release="trixie",
    # What a server of Debian has before anything is installed.
    packages=("ca-certificates", "dbus", "systemd-sysv"),
    program="bin/systemd-run",
    finish=partial(engine.configure, ()),
)
FORMER, RELEASE = "v1", "v2"
# What the page leaves to the operator; the certificate is of an authority of Caddy's own.
OWN = {
    "Settings": "cd /etc/firstcome; sed -i 's/^STRIPE_API_KEY=$/&sk_test_x/; s/^WEBHOOK.*/&whsec_x/' *",
    "TLS": "sed -i '1a tls internal' /etc/caddy/Caddyfile; systemctl restart caddy",
}


@functools.cache
def steps() -> dict[str, str]:
    """The commands of the page's section, by the bold words that begin each step."""
    section = documented.page("operations.md").partition("\n## On a plain server\n")[2].partition("\n## ")[0]
    parts = re.split(r"^\*\*([\w ]+)\.?\*\*", section, flags=re.MULTILINE)[1:]
    texts = ("".join(block.text for block in documented.blocks(part)) for part in parts[1::2])
    return dict(zip(parts[::2], texts, strict=True))


class Server:
    """A bare Debian, of which a folder has what was changed."""

    def __init__(self, changes: Path) -> None:
        self.changes = changes
        self.systemd = 0

    def become(self, *command: str, alone: tuple[str, ...] = ()) -> list[str]:
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *alone]
        return [*words, "sh", str(SCRIPT), str(BARE.folder), str(self.changes), *command]

    def run(self, lines: str, *, release: str = FORMER) -> str:
        """What shell lines print there; each has to succeed."""
        namespaces = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")
        own = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", f"RELEASE={release}"]
        command = ["nsenter", "--target", str(self.systemd), *namespaces, *own, "sh", "-euc", lines]
        return children.printed(children.run(command, within_seconds=300))

    def process(self, unit: str, file: str) -> str:
        return self.run(f"cat /proc/$(systemctl show --value -p MainPID {unit})/{file}")

    def wait_until(self, lines: str) -> None:
        def look() -> bool:
            try:
                return bool(self.run(lines))
            except SetupError:
                return False

        waiting.until(look, f"fails: {lines}", within_seconds=90, pause_seconds=1)

    def wait_until_ready(self) -> None:
        self.wait_until("curl --fail --silent http://127.0.0.1:8001/readyz")


@pytest.fixture(scope="module")
@boots("a Debian, by systemd")
def server(tmp_path_factory) -> Iterator[Server]:
    # Packages are fetched, compiled and unpacked: longer than a test may take, and bounded below.
    faulthandler.cancel_dump_traceback_later()
    BARE.require(within_seconds=900)
    folder = tmp_path_factory.mktemp("plain")
    server = Server(folder)
    project = copy_project(folder)
    git = "git -c user.name=a -c user.email=a@example.com"
    programs.run_lines(
        f"git init --quiet; git add --all; {git} commit --quiet -m x; git tag {FORMER}; git tag {RELEASE}",
        project,
    )
    shutil.copytree(project / ".git", folder / "upper/srv/firstcome.git")
    codes = (f"(RELEASE={release}\n{steps()['Code']})\n" for release in (FORMER, RELEASE))
    lines = f"REPOSITORY=/srv/firstcome.git\n{steps()['Packages']}{''.join(codes)}"
    children.printed(children.run(server.become("sh", "-euc", lines), within_seconds=900))
    alone = ("--net", "--uts", "--ipc", "--cgroup")
    booting = children.start(server.become("/lib/systemd/systemd", alone=alone), log=folder / "log")
    try:
        started = Path(f"/proc/{booting.pid}/task/{booting.pid}/children")
        server.systemd = int(waiting.until(started.read_text, "nothing starts", within_seconds=10))
        server.wait_until("systemctl is-system-running | grep -E 'running|degraded'")
        for step in ("Database and Redis", "Settings", "Processes", "TLS"):
            server.run(steps()[step])
            server.run(OWN.get(step, "true"))
        yield server
    finally:
        children.stop(booting, number=signal.SIGKILL)


def test_the_page_alone_makes_a_shop_that_serves_by_tls(server):
    server.wait_until_ready()
    printed = server.run(steps()["Check"])
    assert '"down": []' in printed and '"alive"' in printed and "firstcome-" not in printed
    asked = "curl --fail --silent --insecure --resolve shop.example.com:443:127.0.0.1"
    assert '"results"' in server.run(f"{asked} https://shop.example.com/api/v1/products")
    # Only Caddy is reached from other machines.
    listening = server.run("grep ' 0A ' /proc/net/tcp | grep -v ': 0100007F:' || true")
    assert listening == ""


def test_systemd_finds_nothing_wrong_with_the_units(server):
    units = " ".join(f"{unit}.service" for unit in UNITS)
    assert server.run(f"systemd-analyze verify --man=no {units} firstcome.target 2>&1") == ""


def test_each_process_runs_as_its_user_without_rights_and_serves_its_metrics(server):
    for unit, port in zip(UNITS, (0, 8001, 9101, 9102, 9103), strict=True):
        user = "firstcome" if port else "haproxy"
        status = server.process(unit, "status")
        assert f"Uid:\t{server.run(f'id -u {user}').strip()}\t" in status, unit
        assert "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status, unit
        assert ("SECRET_KEY" in server.process(unit, "environ")) == bool(port), unit
        if port:
            token = 'Authorization: Bearer $METRICS_TOKEN" http://127.0.0.1'
            read = f'. /etc/firstcome/firstcome.env; curl --fail --silent -H "{token}:{port}/metrics'
            assert "# HELP" in server.run(read), unit


def test_a_killed_process_is_started_again_and_an_update_leads_to_the_new_release(server):
    for name in SERVICES:
        server.run(f"systemctl kill --signal=KILL firstcome-{name}")
        server.wait_until(f"systemctl show -p NRestarts firstcome-{name} | grep =1")
    server.run(steps()["Processes"], release=RELEASE)
    server.wait_until_ready()
    for name in SERVICES:
        directory = f"readlink /proc/$(systemctl show --value -p MainPID firstcome-{name})/cwd"
        assert server.run(directory) == f"/opt/firstcome-{RELEASE}\n"


def test_each_process_stops_in_time_and_web_leaves_no_metrics(server):
    for unit in UNITS:
        server.run(f"systemctl stop {unit}")
        shown = server.run(f"systemctl show -p Result -p ActiveState {unit}")
        assert {*shown.split()} == {"Result=success", "ActiveState=inactive"}, unit
    assert "firstcome-web" not in server.run("ls /run")


def test_the_runbooks_functions_work_there(server):
    server.run("systemctl start firstcome.target haproxy")
    functions = [block.text for block in documented.blocks(documented.page("runbook.md"))][:3]
    assert len({tuple(re.findall(r"^(\w+)\(\)", text, re.MULTILINE)) for text in functions}) == 1
    [plain] = [text for text in functions if "ops/systemd" in text]
    server.run(f"{plain}\nrestart issuer; state beat; logs web; manage doctor")
