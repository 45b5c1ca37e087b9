"""The pages for the first hour, pasted beside a real `make run`: tutorial, guides, clients, backup."""

import re
from contextlib import ExitStack

import pytest

from scripts.stack import instance as instances, own_stack, ports
from scripts.stack.instance import Instance
from scripts.tests import documented, own_client
from scripts.tests.circles import boots
from scripts.tests.documented import Shown


class Stack:
    """A `make run` of the tests' own, which they may stop and start again."""

    def __init__(self, home):
        self.instance = Instance(home=home, port=ports.free(instances.PORTS), database="sqlite")
        self._running = ExitStack()

    @property
    def addresses(self) -> dict[str, str]:
        """Where the shop and its payment gateway are, for programs that read them from their environment."""
        gateway = f"http://{ports.HOST}:{self.instance.gateway_port}"
        return {"SHOP": self.instance.url, "GATEWAY": gateway}

    def start(self):
        self._running.enter_context(own_stack.running(self.instance))

    def stop(self):
        self._running.close()

    def paste(self, shown: list[Shown]):
        """Paste the blocks into one shell; each has to print what its page shows."""
        ends = [f"printf '\\n@@ %s\\n' {number}\n" for number in range(len(shown))]
        lines = "".join(block.lines + end for block, end in zip(shown, ends, strict=True))
        ran = own_stack.paste(self.instance, documented.addressed(lines, self.instance))
        assert ran.returncode == 0, ran.stdout + ran.stderr
        outputs = re.split(r"\n@@ \d+\n", ran.stdout)[:-1]
        for block, output in zip(shown, outputs, strict=True):
            if block.output:
                assert documented.is_shown_by(block.output, output), f"{block.lines}\nprinted:\n{output}"


@pytest.fixture(scope="module")
@boots("a whole shop")
def stack(tmp_path_factory):
    shop = Stack(tmp_path_factory.mktemp("first-hour"))
    shop.start()
    yield shop
    shop.stop()


@pytest.mark.boots("another process of the shop")
def test_the_tutorial_does_what_it_says(stack):
    start, *rest = documented.transcript(documented.page("tutorial.md"))
    assert start.lines == "make run\n"
    assert len([block for block in rest if block.output]) >= 7
    stack.paste(rest)


def test_a_program_is_integrated_as_the_page_says(stack):
    stack.paste(documented.transcript(documented.page("integrate.md")))


def test_a_launch_is_run_as_the_guide_says(stack):
    stack.paste(documented.transcript(documented.page("howto/run-a-launch.md")))


def test_the_python_client_is_installed_and_runs_the_programs_of_its_page(stack, tmp_path):
    pytest.importorskip("setuptools")
    own_client.run_python(tmp_path, BUYER="user-7", **stack.addresses)


def test_the_typescript_client_is_installed_and_runs_the_program_of_its_page(stack, tmp_path):
    own_client.run_typescript(tmp_path, BUYER="user-8", **stack.addresses)


def test_a_backup_is_restored_as_the_guide_says(stack):
    """Last, because it stops the shop: what was done after the backup is gone, and the audit says so."""
    text = documented.page("howto/restore-a-backup.md").partition("## MariaDB and MySQL")[0]
    back_up, forget, restore, compare = documented.transcript(text)
    stack.paste([back_up, forget])
    stack.stop()
    stack.paste([restore])
    stack.start()
    stack.paste([compare])
