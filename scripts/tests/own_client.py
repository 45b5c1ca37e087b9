"""The project's TypeScript client for programs of tests, which node runs."""

import shutil
from pathlib import Path

from scripts import clients
from scripts.stack import places, system_packages

SOURCES = places.PROJECT / "clients" / "typescript"
COMPILE = "npx tsc --strict --module nodenext --target es2022 --skipLibCheck --outDir built"


def place(folder: Path) -> None:
    """Copy the client into the folder, beside the npm packages that it needs."""
    (folder / "node_modules").symlink_to(system_packages.npm_packages() / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copy(SOURCES / "client.ts", folder)
    (folder / "firstcome.ts").write_text(clients.typescript_types())
