"""Child processes that never outlive whoever started them."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scripts.stack import SetupError
from scripts.stack.places import PROJECT

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel send this process the signal as soon as its parent is gone, however that ended."""
    _libc.prctl(_PR_SET_PDEATHSIG, number)


def hear_stop_signals() -> None:
    """Have Ctrl-C, SIGTERM, a closed terminal and the parent's end raise KeyboardInterrupt, but only once.

    SIGINT is heard even where a shell had it ignored, as it does for background jobs; nohup gets its way.
    """
    for number in STOP_SIGNALS:
        is_ignored = signal.getsignal(number) == signal.SIG_IGN
        if not (is_ignored and number == signal.SIGHUP):
            signal.signal(number, _stop)
    end_with_parent()


def ignore_stop_signals() -> None:
    """Let nothing cut the stopping short: a terminal and make may both tell, and once is enough."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _stop(number: int, frame: object) -> None:
    ignore_stop_signals()
    raise KeyboardInterrupt


def start(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    when_parent_dies: int = signal.SIGKILL,
    folder: Path = PROJECT,
) -> subprocess.Popen[bytes]:
    """Start the command in a session of its own and in that folder, its output appended to `log`.

    The kernel sends it `when_parent_dies` as soon as the calling process is gone, however that ended.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        end_with_parent(when_parent_dies)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)

    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def stop(child: subprocess.Popen[bytes], *, within_seconds: float = 10) -> None:
    """Ask the child to end, and make it when it doesn't; returns when it is gone."""
    child.terminate()
    try:
        child.wait(timeout=within_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def wait_until(
    is_ready: Callable[[], bool],
    *,
    name: str,
    child: subprocess.Popen[bytes],
    log: Path,
    within_seconds: float,
) -> None:
    """Return once `is_ready()`. Raises SetupError with the end of its log if it dies or is late."""
    deadline = time.monotonic() + within_seconds
    while not is_ready():
        if child.poll() is not None:
            raise SetupError(
                f"{name} ended with exit code {child.returncode}; the end of {log}:\n{tail(log)}"
            )
        if time.monotonic() > deadline:
            raise SetupError(
                f"{name} did not answer in {within_seconds:.0f} s; the end of {log}:\n{tail(log)}"
            )
        time.sleep(0.05)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, or words that say there is none."""
    try:
        content = log.read_text(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(content[-lines:]) or "(empty)"
