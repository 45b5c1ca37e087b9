"""`make clients`: the generated parts of the clients in clients/, from docs/openapi.yaml.

`--check` compares the Python part with the document instead. That of TypeScript needs npm's packages, which
`make check` doesn't install: a test compares it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.stack import places
from scripts.stack.programs import node_packages

DOCUMENT = places.PROJECT / "docs" / "openapi.yaml"
PYTHON = places.PROJECT / "clients" / "python" / "firstcome_client" / "generated"
TYPESCRIPT = places.PROJECT / "clients" / "typescript" / "firstcome.d.ts"
# Not the project's own settings: the result may not depend on the folder in which it is made.
RUFF = ("python", "-m", "ruff")
AS_ITSELF = ("--isolated", "--quiet", "--target-version=py311", "--line-length=110")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make clients")
    parser.add_argument("--check", action="store_true", help="compare the Python part, and write nothing")
    if parser.parse_args().check:
        changed = python_drift()
        if changed:
            print(*changed[:40], "is not what docs/openapi.yaml says: run `make clients`", sep="\n")
        return 1 if changed else 0
    shutil.rmtree(PYTHON, ignore_errors=True)
    generate_python(PYTHON)
    TYPESCRIPT.write_text(generate_typescript())
    return 0


def generate_python(folder: Path, document: Path = DOCUMENT) -> None:
    """Write the package of openapi-python-client into the folder, which must not exist, formatted by ruff."""
    with tempfile.TemporaryDirectory(prefix="clients-") as made:
        config = Path(made) / "config.yml"
        config.write_text("post_hooks: []\n")
        paths = f"--path={document}", f"--output-path={folder}", f"--config={config}"
        _run(["openapi-python-client", "generate", "--meta=none", *paths])
    _run([*RUFF, "check", *AS_ITSELF, "--select=F401,F811,I", "--fix", "--exit-zero", str(folder)])
    _run([*RUFF, "format", *AS_ITSELF, str(folder)])


def generate_typescript(document: Path = DOCUMENT) -> str:
    """The types that openapi-typescript makes. Raises SetupError when npm's packages can't be installed."""
    program = node_packages.installed() / "node_modules" / ".bin" / "openapi-typescript"
    return _run([str(program), str(document)])


def python_drift(kept: Path = PYTHON, document: Path = DOCUMENT) -> list[str]:
    """The files of the generated Python package that are not what the document says."""
    with tempfile.TemporaryDirectory(prefix="clients-") as made:
        current = Path(made) / "generated"
        generate_python(current, document)
        now, before = _texts(current), _texts(kept)
    return sorted(str(path) for path in now.keys() | before.keys() if now.get(path) != before.get(path))


def _texts(folder: Path) -> dict[Path, str]:
    return {path.relative_to(folder): path.read_text() for path in folder.rglob("*.py")}


def _run(command: Sequence[str]) -> str:
    """The output of a program of the environment, or of a path. Ends the process when the program fails."""
    program = Path(sys.executable).parent / command[0]
    ran = subprocess.run(
        [str(program), *command[1:]],
        env=os.environ | {"NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if ran.returncode != 0:
        sys.exit(f"{command[0]} failed: {ran.stdout}{ran.stderr}")
    return ran.stdout


if __name__ == "__main__":
    sys.exit(main())
