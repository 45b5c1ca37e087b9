"""Child processes, which never outlive their parent, and commands that end with an exit code and one line.

The processes of an instance are known by a mark in their environment, for ids are assigned again.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from scripts.stack import Command, Environment, SetupError, ports, waiting
from scripts.stack.places import PROJECT

Child = subprocess.Popen[Any]
Ran = subprocess.CompletedProcess[str]
Pids = set[int]
# In the environment of everything that supervisor starts: the state folder that it belongs to.
MARK = "FIRSTCOME_RUN"
Ready = Callable[[], bool] | ports.Address  # Whether a process is ready, or where it answers then
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_libc = ctypes.CDLL(None)


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel send this process the signal as soon as its parent is gone, however that ended."""
    _libc.prctl(1, number)  # PR_SET_PDEATHSIG


def handle_stop_signals() -> None:
    """Have Ctrl-C, SIGTERM, a closed terminal and the parent's end raise KeyboardInterrupt, but only once.

    So does SIGINT where a shell had it ignored, as it does for background jobs; with nohup SIGHUP is ignored.
    """

    def stop_once(number: int, frame: object) -> None:
        ignore_stop_signals()
        raise KeyboardInterrupt

    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop_once)
    end_with_parent()


def ignore_stop_signals() -> None:
    """Let nothing interrupt the stopping: a terminal and make may both send a signal, and once is enough."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def run_command(name: str, run: Callable[[], int], *, more: Callable[[], str] = lambda: "") -> int:
    """Run it to its exit code: 130 when a signal stops it, 1 with one line and `more` when it can't go on."""
    handle_stop_signals()
    try:
        return run()
    except KeyboardInterrupt:
        return 130
    except (SetupError, OSError) as error:
        print(f"{name}: {error}{more()}", file=sys.stderr, flush=True)
        return 1


def end_with(run: Callable[[], int], name: str = "firstcome") -> None:
    sys.exit(run_command(name, run))


def start(
    command: Command,
    *,
    environment: Environment = os.environ,
    log: Path | None = None,
    when_parent_dies: int = signal.SIGKILL,
    folder: Path = PROJECT,
    **pipes: Any,
) -> Child:
    """Start the command in a session of its own and in that folder, its output appended to `log`, if any.

    The kernel sends it `when_parent_dies` as soon as the calling thread is gone, however that ended.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        end_with_parent(when_parent_dies)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)

    with log.open("ab") if log else contextlib.nullcontext() as output:
        usual = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT if log else None}
        return subprocess.Popen(
            command,
            preexec_fn=die_with_parent,
            cwd=folder,
            env=environment,
            start_new_session=True,
            **usual | pipes,
        )


def run(words: Command, *, within_seconds: float, text: str | None = None, **how: Any) -> Ran:
    """Run the command to its end, with the text as its input, and otherwise as `start` has it.

    One that goes on is killed with all that it runs. Raises SetupError then.
    """
    pipe = subprocess.PIPE
    child = start(words, text=True, stdin=pipe, stdout=pipe, stderr=pipe, **how)
    try:
        out, error = child.communicate(text, timeout=within_seconds)
    except subprocess.TimeoutExpired:
        raise SetupError(f"{' '.join(map(str, words))[:200]} goes on after {within_seconds:.0f} s") from None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return Ran(words, child.returncode, out, error)


def run_to_end(words: Command, *, stop_seconds: float, **how: Any) -> int:
    """The command's exit code; when this process is stopped, it first gets SIGINT, and so long to end."""
    child = start(words, **how)
    try:
        return int(child.wait())
    finally:
        if child.poll() is None:
            stop(child, within_seconds=stop_seconds, number=signal.SIGINT)


def printed(ran: Ran, *, codes: Collection[int] = (0,)) -> str:
    """What the command printed. Raises SetupError with all of it where it ended with another code."""
    if ran.returncode not in codes:
        what = " ".join(map(str, ran.args[1:]))[:100]
        raise SetupError(f"{what} ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    return ran.stdout


@contextlib.contextmanager
def running(
    command: Command,
    *,
    name: str,
    log: Path,
    is_ready: Ready,
    within_seconds: float = 60,
    stop_seconds: float = 10,
    **how: Any,
) -> Iterator[Child]:
    """The child from the moment it is ready or answers there; stopped on leaving. Raises SetupError."""
    child = start(command, log=log, **how)
    try:
        wait_until(is_ready, name=name, child=child, log=log, within_seconds=within_seconds)
        yield child
    finally:
        stop(child, within_seconds=stop_seconds)


def stop(child: Child, *, within_seconds: float = 10, number: int = signal.SIGTERM) -> None:
    """Send the child the signal, and kill it when it doesn't end; returns when it is gone."""
    child.send_signal(number)
    try:
        child.wait(timeout=within_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def wait_until(is_ready: Ready, *, name: str, child: Child, log: Path, within_seconds: float) -> None:
    """Return once it is ready, or answers at that address.

    Raises SetupError with the end of its log if it dies or is late.
    """

    def look() -> bool:
        if child.poll() is not None:
            end = f"with exit code {child.returncode}; the end of {log}:\n{tail(log)}"
            raise SetupError(f"{name} ended {end}")
        if callable(is_ready):
            return is_ready()
        return ports.answers(is_ready)

    late = f"{name} did not answer in {within_seconds:.0f} s; see {log}"
    waiting.until(look, late, within_seconds=within_seconds, pause_seconds=0.05)


def say(text: str) -> None:
    """Print it; that the reader has gone (`make run | head`) is no reason to stop."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tail(log: Path, lines: int = 15) -> str:
    if log.exists():
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return "(no log)"


def of_state(home: Path) -> Pids:
    """The living processes of the instance with its state there, children included."""
    result = set()
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        if _is_marked(pid, home):
            result.add(pid)
    return result


def leader_of(folder: Path, name: str) -> int | None:
    """The id of the process that was last written as `name`, if it is alive."""
    pid = _written(folder, name)
    if _is_marked(pid, folder.parent):
        return pid
    return None


def group_of(folder: Path, name: str) -> Pids:
    """The living processes of the group that `name` led when it was last written, the leader included."""
    leader = _written(folder, name)
    found = Pids()
    for pid in of_state(folder.parent):
        with contextlib.suppress(ProcessLookupError):
            found |= {pid} if os.getpgid(pid) == leader else set()
    return found


def kill(pids: Pids, number: int = signal.SIGKILL) -> None:
    """Send them the signal; those that are gone already need none."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _written(folder: Path, name: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int((folder / f"{name}.pid").read_text())
    return 0


def _is_marked(pid: int, home: Path) -> bool:
    # Of a process that is gone, a zombie or another user's, nothing can be read.
    with contextlib.suppress(OSError):
        return f"{MARK}={home}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False
