"""A simulator's durable memory: one SQLite file that survives the process, kill -9 included."""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

Book = sqlite3.Connection
Row = sqlite3.Row


def open_book(path: Path, schema: str) -> Book:
    """Open the book, and make what is missing of its file, folders and tables.

    Raises OSError or sqlite3.Error when the path can't hold a book.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    book = sqlite3.connect(path, isolation_level=None)
    book.row_factory = sqlite3.Row
    # What was committed survives the end of the process; only a power cut may take the last moments.
    book.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")
    book.executescript(schema)
    return book


@contextmanager
def transaction(book: Book) -> Iterator[None]:
    """Commit everything inside, or nothing when it raises. Never await inside: the connection is shared."""
    book.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        book.execute("ROLLBACK")
        raise
    book.execute("COMMIT")


def now() -> str:
    """The time as the book writes it."""
    return written(datetime.now(UTC))


def written(moment: datetime) -> str:
    """RFC 3339 in UTC to the microsecond: the later instant is the greater text."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def new_id(prefix: str) -> str:
    """An id that tells what it names."""
    return f"{prefix}_{uuid.uuid4().hex}"
