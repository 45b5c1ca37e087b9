"""`make sbom`: the bill of materials of a release, as CycloneDX JSON, the same for the same lock.

It has the packages that run in production, `requirements.txt`, each with its version, package URL and the
SHA-256 sums of its files. `cyclonedx-bom` writes it.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from scripts.dependencies import locked
from scripts.stack import places

NAME = "firstcome.cdx.json"


def write(path: Path) -> None:
    """Write the bill of materials there, checked against the format's schema."""
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--validate"]
    own = ["--pyproject", str(places.PROJECT / "pyproject.toml"), "--output-format", "JSON"]
    subprocess.run([*command, *own, "--output-file", str(path), str(locked.RUNTIME)], check=True)


def main() -> int:
    """The process behind `make sbom`; its exit code."""
    parser = argparse.ArgumentParser(prog="make sbom", description="Write the bill of materials.")
    parser.add_argument("--file", default="", help=f"var/{NAME} by default")
    asked = parser.parse_args()
    path = Path(asked.file) if asked.file else places.private_folder(places.state()) / NAME
    write(path)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
