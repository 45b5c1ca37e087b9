"""`make sbom`: the CycloneDX bill of materials of the packages that the shop runs on, as the locks pin
them."""

import argparse
import json
import sys
from pathlib import Path

from scripts.stack import children, places
from scripts.supply import vendored

SECONDS = 300


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
    children.printed(children.run(command, within_seconds=SECONDS))
    document = json.loads(out.read_text())
    document["components"] += vendored.components()
    out.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(children.run_command("sbom: failed", main))
