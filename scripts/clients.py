"""`make clients`: the generated parts of the clients in clients/, from docs/openapi.yaml. Git ignores them.

`--python` makes the Python package alone, which needs none of npm's packages: the wheel's build calls it.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from scripts.stack import SetupError, children, places
from scripts.stack.programs import node_packages

DOCUMENT = places.PROJECT / "docs" / "openapi.yaml"
PYTHON = places.PROJECT / "clients" / "python" / "firstcome_client" / "generated"
TYPESCRIPT = places.PROJECT / "clients" / "typescript" / "firstcome.ts"
GENERATOR = "openapi-python-client"
GENERATOR_SECONDS = 600
STAMP = "made_from"
"""The file in the generated package that says which document and generator it is of."""
# Not the project's own settings: the result may not depend on the folder in which it is made.
CONFIG = """
post_hooks:
  - ruff check --isolated --no-cache --quiet --line-length=110 --select=F401,F811,I --fix --exit-zero .
  - ruff format --isolated --no-cache --quiet --line-length=110 .
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make clients")
    parser.add_argument("--python", action="store_true", help="the package for Python alone")
    asked = parser.parse_args()
    try:
        generate_python()
        if not asked.python:
            places.write_whole(TYPESCRIPT, typescript_types())
    except SetupError as error:
        sys.exit(f"firstcome: {error}")


def generate_python(folder: Path = PYTHON, document: Path = DOCUMENT) -> None:
    """Make the package, unless the folder has the one of this document and generator.

    Processes that call it at once make it once, and none finds half of it. Raises SetupError.
    """
    made_from = _fingerprint(document)
    stamp = folder / STAMP
    with _one_at_a_time(folder.parent):
        if stamp.exists() and stamp.read_text() == made_from:
            return
        with tempfile.TemporaryDirectory(prefix=".generated-", dir=folder.parent) as beside:
            config, made = Path(beside, "config.yml"), Path(beside, "made")
            config.write_text(CONFIG)
            paths = f"--path={document}", f"--output-path={made}", f"--config={config}"
            _run([sys.executable, "-m", "openapi_python_client", "generate", "--meta=none", *paths])
            (made / STAMP).write_text(made_from)
            if folder.exists():
                folder.rename(Path(beside, "old"))
            made.rename(folder)


def typescript_types() -> str:
    """What openapi-typescript makes of the document. Raises SetupError."""
    program = node_packages.installed() / "node_modules" / ".bin" / "openapi-typescript"
    return _run([str(program), str(DOCUMENT)])


def _fingerprint(document: Path) -> str:
    try:
        version = metadata.version(GENERATOR)
    except metadata.PackageNotFoundError:
        raise SetupError(f"{GENERATOR} is missing; run this first: make check") from None
    return f"{hashlib.sha256(document.read_bytes()).hexdigest()} {GENERATOR} {version}\n"


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _run(command: Sequence[str]) -> str:
    """The output of a program, which finds those of the environment. Raises SetupError when it fails."""
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    own = os.environ | {"NO_COLOR": "1", "PATH": path}
    return children.printed(children.run(command, within_seconds=GENERATOR_SECONDS, environment=own))


if __name__ == "__main__":
    main()
