"""`make test`: pytest on throwaway servers, then the embedded smoke. With arguments: pytest alone.

The whole suite runs in three processes, for many tests wait more than they work; each has a database and a
Redis of its own, and each module's tests stay together and in their order.
"""

import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.stack import SetupError, children, places, throwaway

WHOLE_SUITE = ("--numprocesses", "3", "--dist", "loadfile", "--durations", "25")
PATIENCE_SECONDS = 30
"""What pytest gets to end its fixtures once it was told to stop."""


def main() -> int:
    children.hear_stop_signals()
    arguments = sys.argv[1:]
    try:
        code = _pytest(arguments or WHOLE_SUITE)
        if code != 0 or arguments:
            return code
        return _run([sys.executable, "-m", "scripts.smoke"], os.environ)
    except KeyboardInterrupt:
        return 130
    except (SetupError, OSError) as error:
        print(f"firstcome: {error}", file=sys.stderr)
        return 1


def _pytest(arguments: Sequence[str]) -> int:
    """Run pytest on servers of its own; its exit code."""
    home = Path(tempfile.mkdtemp(prefix="firstcome-test-")).resolve()
    try:
        with throwaway.servers(home) as settings:
            code = _run([sys.executable, "-m", "pytest", *arguments], os.environ | settings)
            if code != 0:
                _keep_logs(home)
            return code
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run to the end and return the exit code; when told to stop, first let the command end what it began."""
    child = subprocess.Popen(
        command,
        cwd=places.PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        # Told by this process alone: a second Ctrl-C would cut the fixtures' ending short.
        start_new_session=True,
        preexec_fn=functools.partial(children.end_with_parent, signal.SIGINT),
    )
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
        raise


def _keep_logs(home: Path) -> None:
    kept = places.state() / "test-logs"
    kept.mkdir(parents=True, exist_ok=True)
    for log in home.glob("*.log"):
        shutil.copy(log, kept)
    print(f"The servers' logs of this run are in {kept}.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
