"""The words that code and docs don't use: metaphors and persons where requests, processes and rows are meant.

`make check` fails for each; `python -m scripts.vocabulary` lists them. docs/glossary.md has the terms
to use instead. Decisions (docs/adr) and the changelog keep theirs.
"""

import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from scripts.stack import places

PERSONS = r"whoever|somebody|nobody|everybody|who (?:asks|waits|comes|has|is|gets|was)"
METAPHORS = (
    r"told|heard|owed|askers?|comers?|newcomers|bringers?|milliards?|made anew|begins? again|"
    r"what the dead|the dead (?:left|took)|lets? go|gives? back|given back|hands? on|map of rooms|this room"
)
BANNED = re.compile(rf"\b(?:{PERSONS}|{METAPHORS})\b", re.IGNORECASE)
LEFT_AS_THEY_ARE = re.compile(
    r"^(?:docs/adr/|CHANGELOG\.md$|docs/openapi\.yaml$|docs/bench|docs/lab/"
    r"|clients/python/firstcome_client/generated/|scripts/(?:tests/test_)?vocabulary\.py$|[a-z]+/migrations/)"
)
READ = {".py", ".md", ".js", ".html", ".yml", ".toml"}


def findings(root: Path = places.PROJECT) -> Iterator[str]:
    """`path:line: word` for each banned word in the tracked files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0"):
        path = root / name
        if path.suffix in READ and path.is_file() and not LEFT_AS_THEY_ARE.match(name):
            yield from (f"{name}:{line}: {word}" for line, word in banned_words(path.read_text()))


def banned_words(text: str) -> Iterator[tuple[int, str]]:
    """The number of the line and the word, for each banned word in the text."""
    for number, line in enumerate(text.splitlines(), start=1):
        yield from ((number, found.group()) for found in BANNED.finditer(line))


def main(names: Collection[str], root: Path = places.PROJECT) -> int:
    """Print the findings in these files, or in all files if none is named; 1 if there is any."""
    found = [line for line in findings(root) if not names or line.partition(":")[0] in names]
    print("\n".join(found) or "No banned word.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
