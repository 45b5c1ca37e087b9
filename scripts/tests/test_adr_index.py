"""The index of decisions, docs/adr/README.md, against the pages beside it."""

import re

from scripts.stack import places

ADR = places.PROJECT / "docs" / "adr"
PAGES = sorted(path.name for path in ADR.glob("*.md") if path.name != "README.md")
ROWS = re.findall(
    r"^\| \[(\d+)\]\(([^)]+)\) \| ([^|]+) \| ([^|]+) \|$", (ADR / "README.md").read_text(), flags=re.MULTILINE
)


def test_every_decision_is_in_the_index_once_in_order():
    assert [name for _, name, _, _ in ROWS] == PAGES
    assert [number for number, _, _, _ in ROWS] == [name.partition("-")[0] for name in PAGES]
    numbers = [number for number, _, _, _ in ROWS]
    assert len(numbers) == len(set(numbers))


def test_the_index_has_nothing_but_rows_of_decisions():
    lines = [line for line in (ADR / "README.md").read_text().splitlines() if line.startswith("|")]
    assert len(lines) == len(ROWS) + 2


def test_every_title_is_that_of_its_page():
    assert {name: title for _, name, title, _ in ROWS} == {name: _title(name) for name in PAGES}


def test_every_decision_is_said_in_one_sentence():
    sentences = [sentence for _, _, _, sentence in ROWS]
    assert [said for said in sentences if not re.fullmatch(r"[A-Z`].*[^.]\.", said)] == []
    assert [said for said in sentences if re.search(r"\. [A-Z]", said)] == []


def _title(name: str) -> str:
    """The page's first heading, without its number."""
    heading = (ADR / name).read_text().splitlines()[0]
    return re.sub(r"^# \d+(?: ·|\.) ", "", heading)
