"""The project's TypeScript client for programs of tests, which node runs."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from scripts import clients
from scripts.stack import places
from scripts.stack.programs import node_packages

SOURCES = places.PROJECT / "clients" / "typescript"
COMPILE = "npx tsc --strict --module nodenext --target es2022 --skipLibCheck --outDir built"


def place(folder: Path) -> None:
    """Copy the client into the folder, beside the npm packages that it needs."""
    (folder / "node_modules").symlink_to(node_packages.installed() / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copy(SOURCES / "client.ts", folder)
    (folder / "firstcome.ts").write_text(clients.typescript_types())


def compile_program(folder: Path, text: str) -> list[str]:
    """The command that runs the program, which imports `./client.js`."""
    place(folder)
    (folder / "program.ts").write_text(text)
    ran = subprocess.run(
        ["sh", "-c", f"{COMPILE} program.ts"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ["node", str(folder / "built" / "program.js")]


def run(command: list[str], **settings: str) -> str:
    """What the program prints. Fails with all of it when the program does."""
    environment: Mapping[str, str] = os.environ | settings
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
