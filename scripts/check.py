"""`make check`: what can be said of the code without running the shop. A line a check, and why it failed."""

import argparse
import contextlib
import difflib
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path

from scripts import alert_rules, clients
from scripts.stack import SetupError, places

OPENAPI = places.PROJECT / "docs" / "openapi.yaml"
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "shop.settings",
    "DATABASE_URL": "sqlite://:memory:",
    "SECRET_KEY": "checks-sign-nothing-but-settings-want-fifty-characters",
    "DEBUG": "0",
}
"""The checks read code: they need settings that parse, and no server."""


COMMANDS = {
    "format": "ruff format --check .",
    "lint": "ruff check .",
    "layers": "lint-imports",
    "migrations": "django-admin makemigrations --check --dry-run",
    "reference": "python -m scripts.reference --check",
    "messages": "python -m scripts.catalogs --check",
}


Check = Callable[[], object]


class Failed(Exception):
    """A check found something; the text says what."""


class Skipped(Exception):
    """A check can't run on this machine; the text says what is missing, and how to install it."""


class Outcome(Enum):
    OK, FAILED, SKIPPED = "ok", "failed", "skipped"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make check")
    parser.add_argument("--write-openapi", action="store_true", help="write docs/openapi.yaml and end")
    parser.add_argument("--write-reference", action="store_true", help="write docs/reference and end")
    asked = parser.parse_args()
    if asked.write_openapi:
        OPENAPI.write_text(_openapi())
        return 0
    if asked.write_reference:
        _run("python -m scripts.reference")
        return 0
    return run_all(
        {
            "mypy": _check_types,
            **{name: functools.partial(_run, command) for name, command in COMMANDS.items()},
            "openapi": _openapi_is_current,
            "rules": check_rules,
            "clients": _generate_clients,
        }
    )


def run_all(checks: Mapping[str, Check]) -> int:
    """Run the checks side by side, and print what each says. Returns the exit status."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        outcomes = dict(zip(checks, threads.map(_try, checks.items()), strict=True))
    if skipped := [name for name, outcome in outcomes.items() if outcome is Outcome.SKIPPED]:
        print(f"not checked here: {', '.join(skipped)}", flush=True)
    must_pass = {Outcome.OK} if os.environ.get("CI") else {Outcome.OK, Outcome.SKIPPED}
    return 0 if must_pass.issuperset(outcomes.values()) else 1


def _try(named_check: tuple[str, Check]) -> Outcome:
    (name, check), started = named_check, time.monotonic()
    try:
        check()
    except Failed as failed:
        print(f"FAILED  {name}\n{failed}", flush=True)
        return Outcome.FAILED
    except Skipped as reason:
        print(f"SKIPPED {name}\n{reason}", flush=True)
        return Outcome.SKIPPED
    print(f"ok      {name} ({time.monotonic() - started:.1f} s)", flush=True)
    return Outcome.OK


def _run(command: str) -> str:
    """The output of a program of the environment. Raises Failed with all of it when the program fails."""
    program, *words = command.split()
    return _run_command([str(Path(sys.executable).with_name(program)), *words])


def _run_command(command: Sequence[str]) -> str:
    """The output of a command. Raises Failed with all of it when the command fails."""
    ran = subprocess.run(
        command,
        cwd=places.PROJECT,
        env=os.environ | SETTINGS | {"PYTHONPATH": str(places.PROJECT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if ran.returncode != 0:
        raise Failed((ran.stdout + ran.stderr).strip())
    return ran.stdout


def _run_again_if_it_fails(command: Sequence[str]) -> None:
    """Run it up to three times.

    promtool's unit tests lose samples now and then when they span more than a day and a half: then its
    storage compacts its head while the rules are evaluated. A wrong rule fails each time.
    """
    for _ in range(2):
        with contextlib.suppress(Failed):
            _run_command(command)
            return
    _run_command(command)


def check_rules() -> None:
    """Prometheus and Alertmanager take their files, and each rule does what its unit tests say."""
    try:
        commands = alert_rules.checks()
    except SetupError as missing:
        raise Skipped(str(missing)) from missing
    for command in commands:
        _run_again_if_it_fails(command)


def _generate_clients() -> None:
    try:
        clients.generate_python()
    except SetupError as error:
        raise Failed(str(error)) from error


def _check_types() -> None:
    """Those of clients/python as well, which needs its generated part."""
    _generate_clients()
    _run("mypy .")


def _openapi() -> str:
    """The schema as the code has it now, without a warning."""
    with tempfile.TemporaryDirectory(prefix="openapi-") as folder:
        _run(f"django-admin spectacular --validate --fail-on-warn --file {folder}/openapi.yaml")
        return Path(folder, "openapi.yaml").read_text()


def _openapi_is_current() -> None:
    kept = OPENAPI.read_text() if OPENAPI.exists() else ""
    names = ("docs/openapi.yaml", "the code")
    if lines := list(difflib.unified_diff(kept.splitlines(), _openapi().splitlines(), *names, n=1)):
        what = "docs/openapi.yaml is not what the code says: run `make openapi`"
        raise Failed("\n".join([*lines[:40], what]))


if __name__ == "__main__":
    sys.exit(main())
