"""`make check`: what can be said of the code without running the shop. A line a check, and why it failed."""

import argparse
import difflib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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


class Failed(Exception):
    """A check found something; the text says what."""


class Skipped(Exception):
    """A check can't run on this machine; the text says what is missing, and how to install it."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make check")
    parser.add_argument("--write-openapi", action="store_true", help="write docs/openapi.yaml and end")
    parser.add_argument("--write-reference", action="store_true", help="write docs/reference and end")
    asked = parser.parse_args()
    if asked.write_openapi:
        OPENAPI.write_text(_openapi())
    elif asked.write_reference:
        _run("python", "-m", "scripts.reference")
    else:
        checks: dict[str, Callable[[], object]] = {"mypy": _check_types}
        checks |= {name: partial(_run, *line.split()) for name, line in COMMANDS.items()}
        return run_all(checks | {"openapi": _openapi_is_current, "rules": check_rules})
    return 0


def run_all(checks: Mapping[str, Callable[[], object]]) -> int:
    """Run the checks side by side, and print what each says. Returns the exit status."""

    def outcome(name: str) -> str:
        started = time.monotonic()
        try:
            checks[name]()
        except Failed as failed:
            print(f"FAILED  {name}\n{failed}", flush=True)
            return "failed"
        except Skipped as reason:
            print(f"SKIPPED {name}\n{reason}", flush=True)
            return "skipped"
        print(f"ok      {name} ({time.monotonic() - started:.1f} s)", flush=True)
        return "ok"

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        outcomes = set(threads.map(outcome, checks))
    return 0 if outcomes <= ({"ok"} if os.environ.get("CI") else {"ok", "skipped"}) else 1


def _run(program: str, *words: str) -> None:
    """Run a program of the environment, or another by its path. Raises Failed with all of its output."""
    environment = os.environ | SETTINGS | {"PYTHONPATH": str(places.PROJECT)}
    command = [Path(sys.executable).parent / program, *words]
    ran = subprocess.run(command, cwd=places.PROJECT, env=environment, capture_output=True, text=True)
    if ran.returncode != 0:
        raise Failed((ran.stdout + ran.stderr).strip())


def check_rules() -> None:
    """Prometheus and Alertmanager take their files, and each rule does what its unit tests say.

    Up to three times: promtool's unit tests lose samples now and then when they span more than a day and a
    half, for its storage compacts its head meanwhile. A wrong rule fails each time.
    """
    try:
        commands = alert_rules.checks()
    except SetupError as missing:
        raise Skipped(str(missing)) from missing
    for command in commands:
        for is_last in (False, False, True):
            try:
                _run(*command)
                break
            except Failed:
                if is_last:
                    raise


def _check_types() -> None:
    """Those of clients/python as well, which needs its generated part."""
    try:
        clients.generate_python()
    except SetupError as error:
        raise Failed(str(error)) from error
    _run("mypy", ".")


def _openapi() -> str:
    """The schema as the code has it now, without a warning."""
    with tempfile.TemporaryDirectory(prefix="openapi-") as folder:
        file = f"{folder}/openapi.yaml"
        _run("django-admin", "spectacular", "--validate", "--fail-on-warn", "--file", file)
        return Path(file).read_text()


def _openapi_is_current() -> None:
    names = ("docs/openapi.yaml", "the code")
    kept, current = OPENAPI.read_text().splitlines(), _openapi().splitlines()
    if lines := list(difflib.unified_diff(kept, current, *names, n=1)):
        what = "docs/openapi.yaml is not what the code says: run `make openapi`"
        raise Failed("\n".join([*lines[:40], what]))


if __name__ == "__main__":
    sys.exit(main())
