"""The file of an archived month: a header, a line for each row, and a trailer that says how many; gzip.

A file is written beside its final name, and gets that once it is verified. Whatever is damaged or cut short
is noticed: gzip has a checksum, the trailer counts the rows, and the shop keeps the SHA-256 of the file.
"""

import fcntl
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from structlog import get_logger

log = get_logger(__name__)
FORMAT = 1
PARTIAL = ".partial"
# Lines of JSON repeat themselves so much that a higher level takes twice as long for a tenth less.
COMPRESSION = 3
_BUFFER = 1 << 20


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


class Writer:
    """Writes a new partial file; it is locked as long as this process writes it."""

    def __init__(self, folder: Path, header: Header) -> None:
        self.path = folder / (header.file_name + PARTIAL)
        self._raw = open(self.path, "xb", opener=_private)  # noqa: SIM115 - with a mode, and kept open
        fcntl.flock(self._raw, fcntl.LOCK_EX)
        self._packed = gzip.GzipFile(
            fileobj=self._raw, mode="wb", compresslevel=COMPRESSION, mtime=0, filename=""
        )
        self._rows, self._first, self._last = 0, b"", b""
        self._put([json.dumps(asdict(header)).encode()])

    def write(self, lines: Sequence[bytes]) -> None:
        self._first = self._first or lines[0]
        self._last, self._rows = lines[-1], self._rows + len(lines)
        self._put(lines)

    def end(self) -> dict[str, Any]:
        """Write the trailer, and return it once all is on the disk; later reads come from there.

        It has the number of rows between it and the header, and the keys of the first and the last.
        """
        first, last = [str(json.loads(line)[0]) if line else "" for line in (self._first, self._last)]
        trailer = {"rows": self._rows, "first_key": first, "last_key": last}
        self._put([json.dumps(trailer).encode()])
        self._packed.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        os.posix_fadvise(self._raw.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return trailer

    def close(self, *, discard: bool) -> None:
        if discard:
            self.path.unlink(missing_ok=True)
        self._raw.close()

    def _put(self, lines: Sequence[bytes]) -> None:
        self._packed.write(b"\n".join(lines) + b"\n")


@contextmanager
def open_file(path: Path) -> Iterator[tuple[Header, Iterator[bytes]]]:
    with reading(path) as file:
        yield read(file)


@contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """The file for `read` and `require_same`, which see the same one, whatever gets its name meanwhile.

    A process that writes into the file itself is not kept out. Raises `FileDamaged` and `ArchiveFailed`.
    """
    try:
        with path.open("rb") as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileDamaged(f"{path} is damaged: {error}. Take another copy of it.") from error
    except OSError as error:
        raise ArchiveFailed(f"{path} can't be read: {error}.") from error


def read(file: BufferedReader) -> tuple[Header, Iterator[bytes]]:
    """The header and the rows' lines, which end with `FileDamaged` unless the trailer agrees. Raises that.

    Reads from the beginning, so one reading has to end before the next.
    """
    file.seek(0)
    packed = gzip.GzipFile(fileobj=file)
    try:
        header = Header(**json.loads(packed.readline(_BUFFER)))
        UUID(header.archive)
        if not all(isinstance(one, str) for one in (header.table, header.month, *header.columns)):
            raise TypeError("Its values are no texts.")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FileDamaged(f"{file.name} is no archive of this shop: it has no header of one.") from error
    if header.format != FORMAT:
        raise ArchiveFailed(f"{file.name} has the format {header.format}, and this release reads {FORMAT}.")
    return header, _read_rows(file.name, packed)


def _read_rows(path: str, packed: gzip.GzipFile) -> Iterator[bytes]:
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


def batches(lines: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    while batch := list(islice(lines, size)):
        yield batch


def sha256_of(path: Path) -> str:
    with reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_same(file: BufferedReader, *, size: int, sha256: str) -> None:
    """Compare the file with what the shop keeps of it. Raises `FileDamaged`."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    if os.fstat(file.fileno()).st_size != size or digest != sha256:
        raise FileDamaged(
            f"{file.name} is damaged: its SHA-256 is {digest}, and that of the archive {sha256}."
            " Take another copy of it."
        )


def publish(partial: Path, final: Path) -> None:
    """Give a whole file its name. Durable when it returns."""
    partial.rename(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_manifest(path: Path, described: Mapping[str, Any]) -> None:
    """Write what the shop keeps of the file beside it, for people and their tools; a later run repeats it."""
    with open(path.with_name(path.name + ".json"), "w", opener=_private) as manifest:
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
                log.info("deleted the partial file of a process that ended", file=partial.name)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
