"""`make check`: what can be said of the code without running the shop. A line a check, and why it failed."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts import alert_rules
from scripts.stack import SetupError, Words, places
from scripts.stack.children import say

# The checks read code: they need settings that parse, and no server.
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "shop.settings",
    "DATABASE_URL": "sqlite://:memory:",
    "SECRET_KEY": "checks-sign-nothing-but-settings-want-fifty-characters",
    "DEBUG": "0",
}
OPENAPI = "django-admin spectacular --validate --fail-on-warn --file"
# What `make generate` writes; the clients only when they are asked for, since they need npm.
WRITTEN = {
    "openapi": f"{OPENAPI} docs/openapi.yaml",
    "reference": "python -m scripts.reference",
    "messages": "python -m scripts.catalogs",
    "clients": "python -m scripts.clients",
}
# The command lines of each check, one after the other.
CHECKS = {
    # The client for Python is checked too, which needs its generated part.
    "mypy": ["python -m scripts.clients --python", "mypy ."],
    "format": ["ruff format --check ."],
    "lint": ["ruff check ."],
    "layers": ["lint-imports"],
    "migrations": ["django-admin makemigrations --check --dry-run"],
    "reference": ["python -m scripts.reference --check"],
    "messages": ["python -m scripts.catalogs --check"],
    # `make generate` writes it.
    "openapi": [f"{OPENAPI} {{made}}", "/usr/bin/diff --unified=1 docs/openapi.yaml {made}"],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make check")
    parser.add_argument("--write", choices=["", *WRITTEN], help="write what is generated, and end")
    what = parser.parse_args().write
    if what is not None:
        names = [what] if what else [name for name in WRITTEN if name != "clients"]
        return max(_run(*WRITTEN[name].split(), capture_output=False).returncode for name in names)
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        made = f"{folder}/openapi.yaml"
        lines = {name: [line.format(made=made).split() for line in lines] for name, lines in CHECKS.items()}
        return run_all(lines | rules())


def rules() -> dict[str, list[list[str]]]:
    """The check of Prometheus' and Alertmanager's files, where their programs are; in CI they have to be."""
    try:
        return {"rules": alert_rules.checks()}
    except SetupError as missing:
        if os.environ.get("CI"):
            return {"rules": [["python", "-c", f"raise SystemExit({str(missing)!r})"]]}
        say(f"SKIPPED rules\n{missing}")
        return {}


def run_all(checks: Mapping[str, Sequence[Words]]) -> int:
    """Run the checks side by side, and print what each says. Returns the exit status."""

    def passes(name: str) -> bool:
        started = time.monotonic()
        for program, *words in checks[name]:
            # promtool's unit tests lose samples now and then when they span more than a day and a half: its
            # storage compacts its head meanwhile. A wrong rule fails each time.
            for _ in range(3 if "promtool" in program else 1):
                ran = _run(program, *words)
                if ran.returncode == 0:
                    break
            else:
                say(f"FAILED  {name}\n{(ran.stdout + ran.stderr).strip()}")
                return False
        say(f"ok      {name} ({time.monotonic() - started:.1f} s)")
        return True

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        if all([*threads.map(passes, checks)]):
            return 0
        return 1


def _run(program: str, *words: str, capture_output: bool = True) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | SETTINGS | {"PYTHONPATH": str(places.PROJECT)}
    command = [str(Path(sys.executable).parent / program), *words]
    return subprocess.run(
        command, cwd=places.PROJECT, env=environment, capture_output=capture_output, text=True
    )


if __name__ == "__main__":
    sys.exit(main())
