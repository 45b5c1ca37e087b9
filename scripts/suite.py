"""`make test`: the first group of tests on throwaway servers, then the smoke; with words, pytest alone.

The tests of a group run in an order that a seed decides, which is printed: `make test SEED=…` repeats it.
"""

import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scripts import check, in_debian, options
from scripts.stack import Environment, SetupError, children, places, throwaway
from scripts.stack.children import say
from scripts.stack.system_packages import Root

IN_PARALLEL = ("--numprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder", "--durations", "10")
PATIENCE_SECONDS = 30  # How long pytest may take to end its fixtures once it is interrupted


def main() -> int:
    parser = options.parser(
        "make test",
        db=", ".join(throwaway.DATABASES),
        circle="first, other or long",
        part="K/N: the Kth of N parts of it",
        seed="of the order of modules and tests",
        since="a commit: with a part, also what changes since then touch",
    )
    parser.add_argument("--debian", default="", choices=("", "13"), help="with its Python and servers")
    parser.add_argument("--django", default="", choices=("", "6.1"), help="this release, in that Debian")
    asked, arguments = parser.parse_known_args()
    if asked.debian:
        return in_debian.run("scripts.suite", *sys.argv[1:], "--django=", purpose="test", django=asked.django)
    if asked.django:
        parser.error("DJANGO needs DEBIAN=13")
    part: tuple[str, ...] = ()
    if asked.part:
        part = ("--part", asked.part, "--since", asked.since)
    seed = asked.seed or str(secrets.randbelow(10**6))
    if arguments[:2] == ["-m", "rules"]:
        # The tests of rules need no server.
        folders = sorted(str(folder) for folder in places.PROJECT.glob("*/tests/rules"))
        return _run("pytest", "--noconftest", *folders, *arguments, environment=os.environ | check.SETTINGS)
    if arguments and not asked.circle:
        return _pytest_on(asked.db, *arguments)
    say(f"The order of the tests is that of SEED={seed}.")
    others = {kind: root for kind, (_, root) in throwaway.DATABASES.items() if root}
    circle = asked.circle or "first"
    words = ("--circle", circle, "--seed", seed, *part, *IN_PARALLEL, *arguments)
    if asked.db == "others":
        return _on_other_servers(others, "-m", "each_server", "--seed", seed, *part, *IN_PARALLEL)
    if asked.db in others and os.environ.get("CI"):
        return _on_other_servers({asked.db: others[asked.db]}, *words)
    code = _pytest_on(asked.db, *words)
    if code != 0 or circle != "first":
        return code
    return _run("scripts.smoke", environment=os.environ)


def _on_other_servers(roots: Mapping[str, Root], *arguments: str) -> int:
    """The exit code of pytest on these kinds of server, each from its Debian root.

    One that can't be had is named at the end, and the others go on.
    """
    codes = [0]
    not_met = []
    for kind, root in roots.items():
        try:
            root.require(within_seconds=throwaway.ROOT_SECONDS)
        except (SetupError, OSError) as error:
            not_met.append(f"*** NOT TESTED on {kind}: {error} ***\n")
        else:
            codes.append(_pytest_on(kind, *arguments))
    print(*not_met, sep="", end="", file=sys.stderr, flush=True)
    return max(codes)


def _pytest_on(kind: str, *arguments: str) -> int:
    """The exit code of pytest on throwaway servers, whose logs are kept when it fails.

    The names of failed tests are the last lines.
    """
    with tempfile.TemporaryDirectory(prefix="firstcome-test-", ignore_cleanup_errors=True) as made:
        home = Path(made).resolve()
        with throwaway.servers(home, kind=kind) as settings:
            failed = home / "failed.txt"
            code = _run("pytest", "--failed-to", str(failed), *arguments, environment=os.environ | settings)
            kept = places.state() / "test-logs"
            if code != 0:
                kept.mkdir(parents=True, exist_ok=True)
                for log in home.glob("*.log"):
                    shutil.copy(log, kept)
                say(f"The servers' logs of this run are in {kept}.")
                print(failed.read_text() if failed.exists() else "", end="", flush=True)
    return code


def _run(module: str, *arguments: str, environment: Environment) -> int:
    # In a session of its own: a second Ctrl-C would interrupt the end of the fixtures. Compiled modules are
    # kept, whatever the system says: each process of the suite would compile them all again.
    command = [sys.executable, "-m", module, *arguments]
    kept = dict(environment)
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return children.run_to_end(
        command, stop_seconds=PATIENCE_SECONDS, environment=kept, when_parent_dies=signal.SIGINT
    )


if __name__ == "__main__":
    children.end_with(main)
