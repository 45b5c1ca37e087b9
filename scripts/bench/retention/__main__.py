"""`make retention`: fills a month of the journal, archives it beside sales, checks and restores it."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.bench import commits
from scripts.stack import SetupError, children, places, throwaway

ROWS, PAIRS, SECONDS = 10_000_000, 4, 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="make retention", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", default="", help=f"lines of the journal ({ROWS:,})")
    parser.add_argument("--pairs", default="", help=f"rates of issue for each phase ({PAIRS})")
    parser.add_argument("--seconds", default="", help=f"how long each rate is measured ({SECONDS})")
    asked = parser.parse_args()
    numbers = [asked.rows or str(ROWS), asked.pairs or str(PAIRS), asked.seconds or str(SECONDS)]
    if not all(text.isdecimal() and int(text) for text in numbers):
        parser.error("ROWS, PAIRS and SECONDS are numbers of at least 1")
    return children.run_command("retention", lambda: _run(numbers))


def _run(numbers: list[str]) -> int:
    # On a real disk: /tmp may be memory, where a commit costs nothing.
    beside = places.private_folder(places.state())
    with tempfile.TemporaryDirectory(prefix="retention-", dir=beside, ignore_cleanup_errors=True) as made:
        home, archives = Path(made).resolve() / "servers", Path(made).resolve() / "archives"
        archives.mkdir()
        with throwaway.servers(home) as settings:
            own = os.environ | settings | {"DJANGO_SETTINGS_MODULE": "shop.settings"}
            for command in (
                ["manage.py", "migrate", "--verbosity", "0"],
                ["-m", "scripts.bench.retention.measuring", *numbers, str(archives)],
            ):
                print(f"commit {commits.current()}" if command[0] == "-m" else "migrating …", flush=True)
                ran = subprocess.run([sys.executable, *command], cwd=places.PROJECT, env=own, check=False)
                if ran.returncode != 0:
                    raise SetupError(f"{' '.join(command)} ended with {ran.returncode}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
