"""Another commit of the project, checked out into a temporary git worktree and ready to run."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts import places
from scripts.setup_error import SetupError

GIT_SECONDS, BOOTSTRAP_SECONDS = 120, 900
BOOTSTRAP = Path("scripts") / "bootstrap.py"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit by its full hash, and in the words that were asked for."""

    sha: str
    name: str

    @property
    def short(self) -> str:
        return self.sha[:7]


def find(name: str, *, project: Path = places.PROJECT) -> Commit:
    """The commit that a hash, branch or tag names. Raises SetupError."""
    # A name that starts with a dash would be an option of git.
    if not name.startswith("-"):
        asked = _git(["rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"], project)
        if asked.returncode == 0:
            return Commit(sha=asked.stdout.strip(), name=name)
    raise SetupError(f"AGAINST={name} is no commit of {project}: give a hash, a branch or a tag")


@contextmanager
def checked_out(commit: Commit, folder: Path, *, project: Path = places.PROJECT) -> Iterator[Path]:
    """A worktree of the commit in that folder, with its Python environment; removed at the end.

    Raises SetupError when it can't be made.
    """
    try:
        _require(_git(["worktree", "add", "--detach", str(folder), commit.sha], project), "check out", commit)
        changed = _git(["status", "--porcelain", "--untracked-files=no"], folder)
        _require(changed, "read the checkout of", commit)
        if changed.stdout.strip():
            raise SetupError(
                f"the checkout of {commit.short} is not what it holds: {changed.stdout.split()[-1]} differs"
            )
        _prepare_environment(commit, folder, project)
        yield folder
    finally:
        _git(["worktree", "remove", "--force", str(folder)], project)


def is_changed(*, project: Path = places.PROJECT) -> bool:
    """Whether this project's files differ from the commit that is checked out."""
    return bool(_git(["status", "--porcelain", "--untracked-files=no"], project).stdout.strip())


def has_same_environment(folder: Path, project: Path) -> bool:
    """Whether both install the same packages in the same way."""
    names = {path.name for one in (folder, project) for path in one.glob("requirements*.txt")}
    return all(_content(folder / name) == _content(project / name) for name in (*names, str(BOOTSTRAP)))


def _prepare_environment(commit: Commit, folder: Path, project: Path) -> None:
    """Share this project's packages, or install the commit's own."""
    if has_same_environment(folder, project):
        (folder / ".venv").symlink_to((project / ".venv").resolve())
        return
    words = [sys.executable, str(folder / BOOTSTRAP), "mariadb"]
    _require(_run(words, folder, BOOTSTRAP_SECONDS), "install the packages of", commit)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _git(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return _run(["git", *words], folder, GIT_SECONDS)


def _run(words: list[str], folder: Path, within_seconds: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 1, "", str(error))


def _require(ran: subprocess.CompletedProcess[str], what: str, commit: Commit) -> None:
    if ran.returncode != 0:
        lines = (ran.stderr or ran.stdout).strip().splitlines()
        raise SetupError(f"can't {what} {commit.name}: {lines[-1] if lines else 'no reason given'}")
