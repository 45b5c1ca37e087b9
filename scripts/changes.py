"""What a change touches: the modules that import what it changed, the nearest first.

CI runs the parts of the long checks that the commits since `SINCE` touch, and those whose turn it is. It ends
with the names of the parts that are touched and didn't run.
"""

import ast
import os
import subprocess
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from scripts.stack import Words, places

# The setting that names the file to which parts are written that are touched and don't run.
NOT_RUN = "NOT_RUN"


@cache
def changed_paths(since: str) -> frozenset[str]:
    """The files that differ from the commit; none where the clone hasn't got it."""
    words = ["git", "diff", "--name-only", "-z", since, "--"]
    ran = subprocess.run(words, cwd=places.PROJECT, capture_output=True, text=True)
    if ran.returncode == 0:
        return frozenset(filter(None, ran.stdout.split("\0")))
    return frozenset()


def distances(changed: Collection[str], importers: Mapping[str, Collection[str]]) -> dict[str, int]:
    """For each file that a change reaches how many imports lie between the two."""
    found = dict.fromkeys(changed, 0)
    waiting = deque(found)
    while waiting:
        path = waiting.popleft()
        for importer in importers.get(path, ()):
            if importer not in found:
                found[importer] = found[path] + 1
                waiting.append(importer)
    return found


@cache
def importers_by_path(project: Path = places.PROJECT) -> Mapping[str, Collection[str]]:
    """For each Python file of the project those that import it."""
    words = ["git", "ls-files", "-z", "*.py"]
    listed = subprocess.run(words, cwd=project, capture_output=True, text=True, check=True).stdout
    paths = [path for path in listed.split("\0") if path and (project / path).exists()]
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in paths}
    found = defaultdict(set)
    for path in paths:
        for name in _imported(ast.parse((project / path).read_text())):
            if name in modules:
                found[modules[name]].add(path)
    return found


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def nearest(paths: Words, since: str) -> list[str]:
    """Those of the files that the commits since then touch, in the order of their distance."""
    changed = changed_paths(since)
    if not changed:
        return []
    reached = distances(changed, importers_by_path())
    return sorted((path for path in paths if path in reached), key=lambda path: reached[path])


def is_touched(patterns: Words, since: str) -> bool:
    """Whether the commits since then changed a file of one of these patterns."""
    return any(fnmatch(path, pattern) for path in changed_paths(since) for pattern in patterns)


def note_not_run(kind: str, names: Words) -> None:
    """Add these parts to the file that CI prints at its end, if there is one."""
    path = os.environ.get(NOT_RUN)
    if path and names:
        with Path(path).open("a") as file:
            file.writelines(f"touched and not run: {kind} {name}\n" for name in names)
