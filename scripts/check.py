"""`make check`: what can be said of the code without running the shop. A line a check, and why it failed."""

import argparse
import difflib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
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


class Failed(Exception):
    """A check found something; the text says what."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make check")
    parser.add_argument("--write-openapi", action="store_true", help="write docs/openapi.yaml and end")
    if parser.parse_args().write_openapi:
        OPENAPI.write_text(_openapi())
        return 0
    checks: dict[str, Callable[[], object]] = {
        "mypy": lambda: _run("mypy", "."),
        "format": lambda: _run("ruff", "format", "--check", "."),
        "lint": lambda: _run("ruff", "check", "."),
        "layers": lambda: _execute([str(Path(sys.executable).with_name("lint-imports"))]),
        "migrations": lambda: _manage("makemigrations", "--check", "--dry-run"),
        "openapi": _openapi_is_current,
        "words": _no_banned_words,
    }
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        outcomes = list(threads.map(lambda name: _try(name, checks[name]), checks))
    return 0 if all(outcomes) else 1


def _try(name: str, check: Callable[[], object]) -> bool:
    started = time.monotonic()
    try:
        check()
    except Failed as failed:
        print(f"FAILED  {name}\n{failed}", flush=True)
        return False
    print(f"ok      {name} ({time.monotonic() - started:.1f} s)", flush=True)
    return True


def _no_banned_words() -> None:
    if found := list(vocabulary.findings()):
        raise Failed("\n".join([*found, "docs/glossary.md has the words to use instead."]))


def _run(module: str, *arguments: str) -> str:
    """The output of the Python module's command. Raises Failed as `_execute` does."""
    return _execute([sys.executable, "-m", module, *arguments])


def _execute(command: Sequence[str]) -> str:
    """The output of the command. Raises Failed with all of it when the command does."""
    ran = subprocess.run(
        command,
        cwd=places.PROJECT,
        env=os.environ | SETTINGS,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if ran.returncode != 0:
        raise Failed((ran.stdout + ran.stderr).strip())
    return ran.stdout


def _manage(*arguments: str) -> str:
    return _run("django", *arguments)


def _openapi() -> str:
    """The schema as the code has it now, without a warning."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "openapi.yaml"
        _manage("spectacular", "--validate", "--fail-on-warn", "--file", str(path))
        return path.read_text()


def _openapi_is_current() -> None:
    kept = OPENAPI.read_text() if OPENAPI.exists() else ""
    changes = difflib.unified_diff(
        kept.splitlines(), _openapi().splitlines(), "docs/openapi.yaml", "the code", n=1
    )
    lines = list(changes)
    if lines:
        raise Failed(
            "\n".join([*lines[:40], "docs/openapi.yaml is not what the code says: run `make openapi`"])
        )


if __name__ == "__main__":
    sys.exit(main())
