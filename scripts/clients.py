"""`make generate ONLY=clients`: what is generated of clients/, from docs/openapi.yaml. Git ignores it.

`--python` makes the Python package alone, which needs none of npm's packages: the wheel's build calls it.
"""

import fcntl
import hashlib
import os
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from scripts.stack import Command, children, places, system_packages

DOCUMENT = places.PROJECT / "docs/openapi.yaml"
PYTHON = places.PROJECT / "clients/python/firstcome_client/generated"
TYPESCRIPT = places.PROJECT / "clients/typescript/firstcome.ts"
GENERATOR = "openapi-python-client"
# Not the project's own settings: the result may not depend on the folder in which it is made.
CONFIG = """
post_hooks:
  - ruff check --isolated --no-cache --quiet --line-length=110 --select=F401,F811,I --fix --exit-zero .
  - ruff format --isolated --no-cache --quiet --line-length=110 .
"""


def main() -> int:
    generate_python()
    if "--python" not in sys.argv:
        places.write_whole(TYPESCRIPT, typescript_types())
    return 0


def generate_python(folder: Path = PYTHON, document: Path = DOCUMENT) -> None:
    """Make the package, unless the folder has the one of this document and generator.

    Processes that call it at once make it once, and none finds half of it. Raises SetupError.
    """
    version = metadata.version(GENERATOR)
    made_from = f"{hashlib.sha256(document.read_bytes()).hexdigest()} {GENERATOR} {version}\n"
    # The file says which document and generator the package is of.
    stamp = folder / "made_from"
    lock = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == made_from:
            return
        with tempfile.TemporaryDirectory(prefix=".generated-", dir=folder.parent) as beside:
            config = Path(beside, "config.yml")
            made = Path(beside, "made")
            config.write_text(CONFIG)
            paths = f"--path={document}", f"--output-path={made}", f"--config={config}"
            _run([sys.executable, "-m", "openapi_python_client", "generate", "--meta=none", *paths])
            (made / stamp.name).write_text(made_from)
            if folder.exists():
                folder.rename(Path(beside, "old"))
            made.rename(folder)
    finally:
        os.close(lock)


def typescript_types() -> str:
    """What openapi-typescript makes of the document. Raises SetupError."""
    return _run([system_packages.npm_packages() / "node_modules/.bin/openapi-typescript", DOCUMENT])


def _run(command: Command) -> str:
    """The output of a program, which finds those of the environment. Raises SetupError when it fails."""
    own = os.environ | {
        "NO_COLOR": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
    }
    return children.printed(children.run(command, within_seconds=600, environment=own))


if __name__ == "__main__":
    children.end_with(main)
