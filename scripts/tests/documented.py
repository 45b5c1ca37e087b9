"""What the pages of the documentation show: blocks of code, transcripts of shells, and edits of files."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.stack import environment, places, ports

FENCE = re.compile(r"^( *)```([\w-]*)(?: title=\"([^\"]+)\")?\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
ANYTHING = "…"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it is or changes, its text, and its line in the page."""

    language: str
    title: str
    text: str
    line: int


@dataclass(frozen=True)
class Shown:
    """Shell lines of a page, and the output that the page shows below them."""

    lines: str
    output: str


def page(name: str) -> str:
    return (places.PROJECT / "docs" / name).read_text()


def example_settings(folder: Path) -> dict[str, str]:
    """The settings of .env.example with their values, also of those that are comments there."""
    (folder / ".env").write_text(
        re.sub(r"^#(?=[A-Z_]+=)", "", (places.PROJECT / ".env.example").read_text(), flags=re.MULTILINE)
    )
    return environment.read_file(folder / ".env")


def blocks(text: str) -> list[Block]:
    found = []
    for match in FENCE.finditer(text):
        indent, language, title, body = match.groups()
        body = re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)
        found.append(Block(language, title or "", body, text.count("\n", 0, match.start()) + 1))
    return found


def prose(path: Path) -> str:
    """What a page says, or the docstrings and comments of a module."""
    source = path.read_text()
    if path.suffix != ".py":
        return source
    docstrings = [
        node.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    comments = re.findall(r"^(?: *# .*\n)+|(?<=  )# .*$", source, flags=re.MULTILINE)
    return "\n\n".join([*map(str, docstrings), *(re.sub(r"(?m)^ *# ", "", one) for one in comments)])


def sentences(text: str) -> Iterator[str]:
    """The sentences of Markdown, without blocks of code and targets of links; a span of code is a word."""
    text = FENCE.sub("\n\n", text)
    text = re.sub(r"(?<=\])\([^)]*\)", "", text)
    text = re.sub(r"`[^`]*`", lambda found: "_".join(found[0].split()), text)
    for part in re.split(r"\n\s*\n|\n(?= *(?:[-*]|\d+\.|#+) )|\|", text):
        for sentence in re.split(r"(?<=[.!?])[)*\"]*\s+(?=[^a-z\s])", part):
            words = [word for word in sentence.split() if re.search(r"\w", word)]
            if words:
                yield " ".join(words)


def functions(protocol: type) -> list[str]:
    return [name for name, value in vars(protocol).items() if callable(value) and name[0] != "_"]


def transcript(text: str) -> list[Shown]:
    """The shell blocks of a page, each with the block of text that follows it, if one does."""
    found = blocks(text)
    shown = []
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block.language == "sh":
            is_output = following is not None and following.language == "text"
            shown.append(Shown(block.text, following.text if is_output and following else ""))
    return shown


def addressed(lines: str, instance) -> str:
    """Shell lines with the addresses of this instance in place of those of the default ports."""
    for offset in range(len(instance.ports)):
        lines = lines.replace(f"{ports.HOST}:{8000 + offset}", f"{ports.HOST}:{instance.port + offset}")
    return lines


def is_shown_by(expected: str, output: str) -> bool:
    """Whether the output is what the page shows, where `…` stands for anything."""
    pattern = ".*".join(map(re.escape, expected.strip().split(ANYTHING)))
    return re.fullmatch(pattern, output.strip(), flags=re.DOTALL) is not None


def write_or_edit(folder: Path, block):
    """Write the file that the block is, or change it as the block says, below the folder."""
    path = folder / block.title
    if block.language != "diff":
        assert not path.exists(), f"{block.title} exists: the page has to show a change of it"
        path.write_text(block.text)
        return
    text = path.read_text()
    # Each part of a diff says what it replaces, and by what; parts are divided by `@@`.
    for part in re.split(r"^@@\n", block.text, flags=re.MULTILINE):
        lines = part.splitlines(keepends=True)
        before, after = ("".join(line[1:] for line in lines if line[0] in kinds) for kinds in (" -", " +"))
        assert text.count(before) == 1, f"{block.title} has {text.count(before)} times:\n{before}"
        text = text.replace(before, after)
    path.write_text(text)
