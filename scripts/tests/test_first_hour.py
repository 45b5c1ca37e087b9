"""The pages for the first hour, pasted beside a real `make run`: tutorial, guides, clients, backup."""

import os
import re
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from scripts.stack import instance as instances, own_stack, places, ports, system_packages
from scripts.stack.instance import Instance
from scripts.tests import documented, own_client
from scripts.tests.circles import boots
from scripts.tests.documented import Shown
from scripts.tests.programs import run_lines

MYPY = f"{sys.executable} -m mypy --strict --follow-imports=silent --config-file= session.py"
PIP = f"{sys.executable} -m pip --quiet --disable-pip-version-check"
CLIENTS = documented.page("howto/generate-a-client.md")
OWN_CLIENTS = documented.page("howto/use-the-clients.md")


class Stack:
    """A `make run` of the tests' own, which they may stop and start again."""

    def __init__(self, home: Path) -> None:
        self.instance = Instance(home=home, port=ports.free(instances.PORTS), database="sqlite")
        self._running = ExitStack()

    @property
    def addresses(self) -> dict[str, str]:
        """Where the shop and its payment gateway are, for programs that read them from their environment."""
        gateway = f"http://{ports.HOST}:{self.instance.gateway_port}"
        return {"SHOP": self.instance.url, "GATEWAY": gateway}

    def start(self) -> None:
        self._running.enter_context(own_stack.running(self.instance))

    def stop(self) -> None:
        self._running.close()

    def paste(self, shown: list[Shown]) -> None:
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


def test_the_generated_python_client_runs_the_session(stack, tmp_path):
    generate = documented.transcript(CLIENTS)[0]
    assert "openapi-python-client generate" in generate.lines
    document = shutil.copytree("docs", tmp_path / "docs", ignore=shutil.ignore_patterns("lab", "adr"))
    assert (document / "openapi.yaml").exists()
    run(generate.lines.partition("\n")[2], tmp_path)
    session = tmp_path / "session.py"
    session.write_text(program(CLIENTS, session.name))

    printed = run(f"{sys.executable} session.py", tmp_path, **stack.addresses)

    assert documented.is_shown_by(expected_output(CLIENTS, "python"), printed), printed
    run(MYPY, tmp_path)


def test_the_generated_typescript_client_runs_the_session(stack, tmp_path):
    generate, compile_and_run = documented.transcript(CLIENTS)[-2:]
    install, _, generate_lines = generate.lines.partition("\n")
    assert install.startswith("npm install openapi-fetch ")
    (tmp_path / "node_modules").symlink_to(system_packages.npm_packages() / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copytree("docs", tmp_path / "docs", ignore=shutil.ignore_patterns("lab", "adr"))
    (tmp_path / "session.ts").write_text(program(CLIENTS, "session.ts"))
    run(generate_lines, tmp_path)

    printed = run(compile_and_run.lines, tmp_path, **stack.addresses)

    assert documented.is_shown_by(expected_output(CLIENTS, "typescript"), printed), printed


def test_the_python_client_is_installed_and_runs_the_session(stack, tmp_path):
    pytest.importorskip("setuptools")
    copy = shutil.copytree(places.PROJECT / "clients" / "python", tmp_path / "python")
    built = f"{PIP} wheel --no-deps --no-build-isolation --no-index --wheel-dir built {copy}"
    run(f"{built}\n{PIP} install --no-deps --no-index --target installed built/*.whl", tmp_path)
    shutil.rmtree(copy)
    (tmp_path / "session.py").write_text(program(OWN_CLIENTS, "session.py"))
    path = str(tmp_path / "installed")

    printed = run(
        f"{sys.executable} session.py", tmp_path, PYTHONPATH=path, BUYER="user-7", **stack.addresses
    )

    assert documented.is_shown_by(expected_output(OWN_CLIENTS, "python"), printed), printed
    run(MYPY, tmp_path, MYPYPATH=path)


def test_the_typescript_client_runs_the_session(stack, tmp_path):
    own_client.place(tmp_path)
    (tmp_path / "session.ts").write_text(program(OWN_CLIENTS, "session.ts"))
    compile_and_run = documented.transcript(OWN_CLIENTS)[-1]

    printed = run(compile_and_run.lines, tmp_path, BUYER="user-8", **stack.addresses)

    assert documented.is_shown_by(compile_and_run.output, printed), printed


def test_a_backup_is_restored_as_the_guide_says(stack):
    """Last, because it stops the shop: what was done after the backup is gone, and the audit says so."""
    text = documented.page("howto/restore-a-backup.md").partition("## MariaDB and MySQL")[0]
    back_up, forget, restore, compare = documented.transcript(text)
    stack.paste([back_up, forget])
    stack.stop()
    stack.paste([restore])
    stack.start()
    stack.paste([compare])


def program(guide: str, name: str) -> str:
    return next(block.text for block in documented.blocks(guide) if block.title == name)


def expected_output(guide: str, language: str) -> str:
    """What the guide says that the program of this language prints."""
    found = documented.blocks(guide)
    program = next(place for place, block in enumerate(found) if block.title and block.language == language)
    return next(block.text for block in found[program:] if block.language == "text")


def run(lines: str, folder: Path, **settings: str) -> str:
    """The output of shell lines in the folder, with the environment's programs."""
    return run_lines(lines, folder, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", **settings)
