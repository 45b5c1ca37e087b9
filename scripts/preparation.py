"""Whether an instance is still as its last preparation left it, found out without loading Django.

Loading Django to learn that nothing is to do costs seconds of each start. Only the instance's own SQLite is
asked; for everything else the answer is no, and Django looks.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from scripts import environment as environments
from scripts import places
from scripts.instance import Instance

SOURCES = ("*/migrations/*.py", "*/static/**/*", "requirements-embedded.txt")
"""What decides the tables and the collected files."""


def is_current(instance: Instance, environment: Mapping[str, str]) -> bool:
    """Whether migrations, static files and demo are in place as the code wants them now."""
    stamp = _stamp(instance)
    if environment["DATABASE_URL"] != environments.database_url(instance) or not stamp.exists():
        return False
    return any(instance.static.iterdir()) and stamp.read_text() == _fingerprint(instance)


def remember(instance: Instance) -> None:
    """Take what there is now for prepared."""
    if instance.database == "sqlite":
        places.write_whole(_stamp(instance), _fingerprint(instance))


def forget(instance: Instance) -> None:
    """Take nothing for prepared, because preparing begins."""
    _stamp(instance).unlink(missing_ok=True)


def _stamp(instance: Instance) -> Path:
    return instance.data / "prepared"


def _fingerprint(instance: Instance) -> str:
    """A digest of the code's migrations and files, and of what the database says was applied to it."""
    digest = hashlib.sha256()
    for path in _source_files():
        digest.update(bytes(path) + b"\0" + path.read_bytes())
    for row in _database_rows(instance.data / "firstcome.sqlite3"):
        digest.update(repr(row).encode())
    return digest.hexdigest()


def _source_files() -> Iterable[Path]:
    found = {path for pattern in SOURCES for path in places.PROJECT.glob(pattern)}
    return sorted(path for path in found if path.is_file() and ".venv" not in path.parts)


def _database_rows(path: Path) -> list[tuple[object, ...]]:
    """The applied migrations, and whether there are accounts: an emptied database gets its demo again."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            applied = database.execute(
                "SELECT app, name FROM django_migrations ORDER BY app, name"
            ).fetchall()
            return [*applied, *database.execute("SELECT EXISTS (SELECT 1 FROM auth_user)").fetchall()]
    except sqlite3.Error:
        return []
