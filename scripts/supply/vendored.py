"""Scripts of other projects that the shop serves from its own files: which npm packages they are of.

`scripts/npm` pins the packages, so `make audit-dependencies` looks them up, `make sbom` lists them, and a
test compares every file with the package's own.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.stack import places

LOCK = places.PROJECT / "scripts" / "npm" / "package-lock.json"
STATIC = places.PROJECT / "shop" / "static"


@dataclass(frozen=True)
class Vendored:
    """`files` are those in `folder`, each with its path in the package."""

    package: str
    folder: Path
    files: dict[str, str]


VENDORED = (
    Vendored(
        "lit-html",
        STATIC / "storefront" / "lit-html",
        {"lit-html.js": "lit-html.js", "LICENSE": "LICENSE"},
    ),
    Vendored(
        "uplot",
        STATIC / "backoffice" / "uplot",
        {
            "uPlot.iife.min.js": "dist/uPlot.iife.min.js",
            "uPlot.min.css": "dist/uPlot.min.css",
            "LICENSE": "LICENSE",
        },
    ),
)


def components(lock: Path = LOCK) -> list[dict[str, Any]]:
    """The packages as components of a CycloneDX bill of materials."""
    packages = json.loads(lock.read_text())["packages"]
    return [_component(one.package, packages[f"node_modules/{one.package}"]) for one in VENDORED]


def _component(name: str, pinned: dict[str, str]) -> dict[str, Any]:
    purl = f"pkg:npm/{name}@{pinned['version']}"
    return {
        "bom-ref": purl,
        "type": "library",
        "name": name,
        "version": pinned["version"],
        "licenses": [{"license": {"id": pinned["license"]}}],
        "purl": purl,
    }
