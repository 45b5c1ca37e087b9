"""What the bench and the lab write: tables, results as JSON, and figures between two marks of a page."""

import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.stack import SetupError, places

Line = Sequence[str]


def markdown(header: Line, lines: Iterable[Line], *, rules: Line | None = None) -> str:
    """The table for a page."""
    rows = [header, rules or ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)


def printed(header: Line, lines: Iterable[Line], *, widest: int = 1_000) -> str:
    """The table for a terminal; of each line the second cell wraps where it is wider than that."""
    cells = [header, *(part for line in lines for part in _wrapped(line, widest))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    padded = ((cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _wrapped(line: Line, widest: int) -> Iterator[Line]:
    first, *rest = textwrap.wrap(line[1], widest) or [""]
    yield line[0], first, *line[2:]
    for text in rest:
        yield "", text, *[""] * len(line[2:])


def read(file: Path, read_content: Callable[[Any], Any], *, without: Any) -> Any:
    """What the function makes of the file's JSON; `without` where there is no file. Raises SetupError when it
    can't be read."""
    if not file.exists():
        return without
    try:
        return read_content(json.loads(file.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{file} can't be read ({error!r}): mend it, or remove it") from error


def write(file: Path, content: Any) -> None:
    """Write the content as JSON, folders included."""
    file.parent.mkdir(parents=True, exist_ok=True)
    places.write_whole(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def inside(page: Path, marks: tuple[str, str]) -> str:
    """What the page has between the marks."""
    return page.read_text().partition(marks[0])[2].partition(marks[1])[0]


def put_inside(page: Path, marks: tuple[str, str], new: str) -> None:
    """Put that between the marks, in place of what was there."""
    before, _, rest = page.read_text().partition(marks[0])
    places.write_whole(page, before + marks[0] + new + marks[1] + rest.partition(marks[1])[2])


def machine(circumstances: Mapping[str, Any]) -> str:
    """The machine in a line."""
    one = circumstances
    return f"{one['cores']} cores of {one['processor']}, {one['memory_gib']} GB, {one['system']}"


def versions(circumstances: Mapping[str, Any]) -> str:
    """What ran on it, in a line."""
    return ", ".join(f"{name} {version}" for name, version in circumstances["versions"].items())
