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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts import vocabulary
from scripts.monitoring import rules
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
    "mypy": "mypy .",
    "format": "ruff format --check .",
    "lint": "ruff check .",
    "layers": "lint-imports",
    "migrations": "django-admin makemigrations --check --dry-run",
    "dashboards": "python -m scripts.monitoring.dashboards --check",
    "reference": "python -m scripts.reference --check",
    "messages": "python -m scripts.catalogs --check",
}


class Failed(Exception):
    """A check found something; the text says what."""


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
    checks: dict[str, Callable[[], object]] = {
        **{name: functools.partial(_run, command) for name, command in COMMANDS.items()},
        "openapi": _openapi_is_current,
        "words": _no_banned_words,
        "rules": _rules_are_right,
    }
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        outcomes = list(threads.map(_try, checks.items()))
    return 0 if all(outcomes) else 1


def _try(named_check: tuple[str, Callable[[], object]]) -> bool:
    (name, check), started = named_check, time.monotonic()
    try:
        check()
    except Failed as failed:
        print(f"FAILED  {name}\n{failed}", flush=True)
        return False
    print(f"ok      {name} ({time.monotonic() - started:.1f} s)", flush=True)
    return True


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


def _no_banned_words() -> None:
    if found := list(vocabulary.findings()):
        raise Failed("\n".join([*found, "docs/glossary.md has the words to use instead."]))


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


def _rules_are_right() -> None:
    """Prometheus and Alertmanager take their files, and each rule does what its unit tests say."""
    try:
        commands = rules.checks()
    except SetupError as missing:
        raise Failed(str(missing)) from missing
    for command in commands:
        _run_again_if_it_fails(command)


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
