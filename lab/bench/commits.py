"""The commit that is measured, and another one checked out beside it."""

import filecmp
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.stack import SetupError, children, places

GIT_SECONDS, BOOTSTRAP_SECONDS = 120, 900
BOOTSTRAP = "scripts/bootstrap.py"
CHANGES = ("status", "--porcelain", "--untracked-files=no")


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit by its full hash, and by the name that it was asked for with."""

    sha: str
    name: str

    @property
    def short(self) -> str:
        return self.sha[:7]


def current() -> str:
    """The short hash of what is checked out, or `unknown` without git."""
    try:
        return _git("rev-parse", "--short", "HEAD", folder=places.PROJECT)
    except SetupError:
        return "unknown"


def is_changed() -> bool:
    """Whether this project's files differ from the commit that is checked out."""
    return bool(_git(*CHANGES, folder=places.PROJECT))


def find(name: str) -> Commit:
    """The commit that a hash, branch or tag names. Raises SetupError."""
    # A name that starts with a dash would be an option of git.
    if not name.startswith("-"):
        with suppress(SetupError):
            sha = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", folder=places.PROJECT)
            return Commit(sha=sha, name=name)
    raise SetupError(f"AGAINST={name} is no commit of {places.PROJECT}: give a hash, a branch or a tag")


@contextmanager
def checked_out(commit: Commit, folder: Path) -> Iterator[Path]:
    """A worktree of the commit in that folder with its Python environment, removed at the end. Raises
    SetupError."""
    try:
        doing = f"check out {commit.name}"
        _git("worktree", "add", "--detach", str(folder), commit.sha, folder=places.PROJECT, doing=doing)
        if changed := _git(*CHANGES, folder=folder, doing=f"read the checkout of {commit.name}"):
            raise SetupError(
                f"the checkout of {commit.short} is not what it holds: {changed.split()[-1]} differs"
            )
        if _has_same_environment(folder):
            (folder / ".venv").symlink_to((places.PROJECT / ".venv").resolve())
        else:
            words = [sys.executable, str(folder / BOOTSTRAP), "mariadb"]
            _run(words, folder, f"install the packages of {commit.name}", BOOTSTRAP_SECONDS)
        yield folder
    finally:
        with suppress(SetupError):
            _git("worktree", "remove", "--force", str(folder), folder=places.PROJECT)


def _has_same_environment(folder: Path) -> bool:
    """Whether both install the same packages in the same way."""
    names = {path.name for one in (folder, places.PROJECT) for path in one.glob("requirements*.txt")}
    _, *different = filecmp.cmpfiles(folder, places.PROJECT, {*names, BOOTSTRAP}, shallow=False)
    return not any(different)


def _git(*words: str, folder: Path, doing: str = "read the repository") -> str:
    return _run(["git", *words], folder, doing, GIT_SECONDS)


def _run(words: Sequence[str], folder: Path, doing: str, within_seconds: float) -> str:
    """What the command prints. Raises SetupError with the last line that it prints if it fails."""
    try:
        ran = children.run(words, within_seconds=within_seconds, folder=folder)
    except (OSError, SetupError) as error:
        raise SetupError(f"can't {doing}: {error}") from None
    if ran.returncode != 0:
        lines = (ran.stderr or ran.stdout).strip().splitlines()
        raise SetupError(f"can't {doing}: {lines[-1] if lines else 'no reason given'}")
    return ran.stdout.strip()
