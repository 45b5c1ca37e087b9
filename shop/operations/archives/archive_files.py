"""The file of an archived month: a header, a line for each row, and a trailer that says how many; gzip.

A file is written beside its final name, and gets that once it is verified. The shop keeps its SHA-256.
"""

import fcntl
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import BufferedWriter
from pathlib import Path
from typing import Any
from uuid import UUID

FORMAT = 1
PARTIAL = ".partial"
# Lines of JSON repeat themselves so much that a higher level takes twice as long for a tenth less.
COMPRESSION = 3
LONGEST_HEADER = 1 << 20


class ArchiveFailed(Exception):
    """Nothing was archived or restored, or not all; the text says why, and what to do."""


class FileDamaged(ArchiveFailed):
    """The file is cut short, or has another content than it had."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first line: which archive this is, and the columns of each row."""

    archive: str
    table: str
    month: str
    part: int
    columns: Sequence[str]
    format: int = FORMAT

    @property
    def file_name(self) -> str:
        return f"{self.table}-{self.month}-{self.archive[-12:]}.jsonl.gz"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A file that was read to its end."""

    path: Path
    header: Header
    size: int
    sha256: str

    def require_same(self, *, size: int, sha256: str) -> None:
        """Compare the file with what the shop keeps of it. Raises `FileDamaged`."""
        if (self.size, self.sha256) != (size, sha256):
            raise FileDamaged(
                f"{self.path} is damaged: its SHA-256 is {self.sha256}, and that of the archive {sha256}."
                " Take another copy of it."
            )


@contextmanager
def new_file(folder: Path, header: Header) -> Iterator[BufferedWriter]:
    """A new partial file for `write`. It is locked as long as it is open."""
    with open(folder / (header.file_name + PARTIAL), "xb", opener=_private) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def write(file: BufferedWriter, header: Header, pages: Iterable[Sequence[bytes]]) -> dict[str, Any]:
    """Write all lines, and return the trailer once all is on the disk; later reads come from there.

    It has the number of rows between it and the header, and the keys of the first and the last.
    """
    trailer: dict[str, Any] = {"rows": 0, "first_key": "", "last_key": ""}
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=COMPRESSION, mtime=0, filename="") as packed:
        packed.write(json.dumps(asdict(header)).encode() + b"\n")
        for lines in pages:
            packed.write(b"\n".join(lines) + b"\n")
            first, last = (str(json.loads(line)[0]) for line in (lines[0], lines[-1]))
            trailer["first_key"], trailer["last_key"] = trailer["first_key"] or first, last
            trailer["rows"] += len(lines)
        packed.write(json.dumps(trailer).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return trailer


@contextmanager
def open_file(path: Path) -> Iterator[tuple[Opened, Iterator[bytes]]]:
    """What the file is, and the lines of its rows, which end with `FileDamaged` unless the trailer agrees.

    Both are of the same file, whatever gets its name meanwhile. A process that writes into the file itself is
    not kept out. Raises `FileDamaged` and `ArchiveFailed`.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            file.seek(0)
            packed = gzip.GzipFile(fileobj=file)
            header = _read_header(path, packed)
            yield Opened(path=path, header=header, size=size, sha256=sha256), _read_rows(path, packed)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileDamaged(f"{path} is damaged: {error}. Take another copy of it.") from error
    except OSError as error:
        raise ArchiveFailed(f"{path} can't be used: {error}.") from error


def _read_header(path: Path, packed: gzip.GzipFile) -> Header:
    try:
        header = Header(**json.loads(packed.readline(LONGEST_HEADER)))
        UUID(header.archive)
        if not all(isinstance(one, str) for one in (header.table, header.month, *header.columns)):
            raise TypeError("Its values are no texts.")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FileDamaged(f"{path} is no archive of this shop: it has no header of one.") from error
    if header.format != FORMAT:
        raise ArchiveFailed(f"{path} has the format {header.format}, and this release reads {FORMAT}.")
    return header


def _read_rows(path: Path, packed: gzip.GzipFile) -> Iterator[bytes]:
    rows, expected = 0, None
    for line in packed:
        if line.startswith(b"{"):
            with suppress(ValueError, KeyError, RecursionError):
                expected = json.loads(line)["rows"]
            break
        rows += 1
        yield line[:-1]
    if expected != rows or packed.read(1):
        raise FileDamaged(f"{path} is damaged: its rows and its end don't agree. Take another copy of it.")


def publish(partial: Path, final: Path, described: Mapping[str, Any]) -> None:
    """Give a whole file its name, unless it has it. Durable when it returns.

    What the shop keeps of it is written beside it, for people and their tools; a later run repeats that.
    """
    if not final.exists():
        partial.rename(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    with open(final.with_name(final.name + ".json"), "w", opener=_private) as manifest:
        manifest.write(json.dumps(described, indent=2) + "\n")


def delete_abandoned(folder: Path, *, table: str, month: str, is_kept: Callable[[str], bool]) -> None:
    """Delete partial files of killed processes, but not those whose final names are kept.

    That is asked once the file is locked: a writer unlocks its file after it has recorded it.
    """
    for partial in folder.glob(f"{table}-{month}-*.jsonl.gz{PARTIAL}"):
        with suppress(FileNotFoundError), partial.open("r+b") as file:  # NFS locks no file that is only read
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if not is_kept(partial.name.removesuffix(PARTIAL)):
                partial.unlink(missing_ok=True)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
