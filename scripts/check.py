"""`make check`: what can be said of the code without running the shop. A line a check, and why it failed."""

import argparse
import difflib
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts import vocabulary
from scripts.stack import places

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
}


class Failed(Exception):
    """A check found something; the text says what."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make check")
    parser.add_argument("--write-openapi", action="store_true", help="write docs/openapi.yaml and end")
    if parser.parse_args().write_openapi:
        OPENAPI.write_text(_openapi())
        return 0
    checks: dict[str, Callable[[], object]] = {
        **{name: functools.partial(_run, command) for name, command in COMMANDS.items()},
        "openapi": _openapi_is_current,
        "words": _no_banned_words,
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
    ran = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *words],
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
