"""What the bench and the lab write: tables, results as JSON, and text between two marks of a page."""

import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scripts.stack import SetupError, places

Line = Sequence[str]
NUMBERS = re.compile(r"\[\n(?: *(?:[-\d.eE+]+|null),?\n)+ *\]")


def markdown(header: Line, lines: Iterable[Line], *, rules: Line | None = None) -> str:
    """The table for a page."""
    rows = [header, rules or ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)


def printed(header: Line, lines: Iterable[Line], *, widest: int | None = None) -> str:
    """The table for a terminal; cells of its second column wrap where they are wider than `widest`."""
    table = Table(*header, box=None, pad_edge=False, header_style="")
    table.columns[1].max_width = widest
    for line in lines:
        table.add_row(*line)
    text = io.StringIO()
    Console(file=text, width=1_000, force_terminal=False, markup=False, emoji=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def read(file: Path, read_content: Callable[[Any], Any], *, without: Any) -> Any:
    """What the function makes of the file's JSON; `without` if there is no file. Raises SetupError."""
    if not file.exists():
        return without
    try:
        return read_content(json.loads(file.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{file} can't be read ({error!r}): correct it, or remove it") from error


def write(file: Path, content: Any) -> None:
    """Write the content as JSON, folders included; a list of numbers is one line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    numbers = NUMBERS.sub(
        lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), text
    )
    places.write_whole(file, numbers + "\n")


def inside(page: Path, marks: tuple[str, str]) -> str:
    """The text between the marks of the page."""
    return page.read_text().partition(marks[0])[2].partition(marks[1])[0]


def put_inside(page: Path, marks: tuple[str, str], new: str) -> None:
    """Replace the text between the marks of the page."""
    before, _, rest = page.read_text().partition(marks[0])
    places.write_whole(page, before + marks[0] + new + marks[1] + rest.partition(marks[1])[2])


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def machine(circumstances: Mapping[str, Any]) -> str:
    """The machine in a line."""
    one = circumstances
    return f"{one['cores']} cores of {one['processor']}, {one['memory_gib']} GB, {one['system']}"


def versions(circumstances: Mapping[str, Any]) -> str:
    """The versions of what ran, in a line."""
    return ", ".join(f"{name} {version}" for name, version in circumstances["versions"].items())
