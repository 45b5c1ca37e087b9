"""`make audit-dependencies`: known vulnerabilities of every pinned package, of npm and bundled programs too.

The exit code is 0 when every package was looked up and nothing is wrong, 1 for a vulnerability that
`accepted.toml` does not accept (or an exception without a use), and 2 when a package could not be looked up:
a source that is unreachable, or doesn't know the package, is never reported as a clean result.
"""

import argparse
import datetime
import json
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.stack import SetupError, children, places
from scripts.supply import pins
from scripts.supply.vendored import BUNDLED

ACCEPTED = Path(__file__).with_name("accepted.toml")
NPM = places.PROJECT / "scripts" / "npm"
OSV = "https://api.osv.dev/v1/query"
LOOKUP_SECONDS = 1200
"""A request for each of some 200 packages."""
FIELDS = {"id", "package", "accepted_on", "reason"}


@dataclass(frozen=True)
class Vulnerability:
    """`names` are its id and its aliases."""

    package: str
    version: str
    names: frozenset[str]
    advice: str


@dataclass
class Result:
    """What was found, and what could not be looked up, each with the reason."""

    looked_up: int = 0
    vulnerabilities: list[Vulnerability] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def add(self, other: "Result") -> None:
        self.looked_up += other.looked_up
        self.vulnerabilities += other.vulnerabilities
        self.unchecked += other.unchecked


@dataclass(frozen=True)
class Exemption:
    """A vulnerability that is accepted."""

    id: str
    package: str
    reason: str

    def covers(self, found: Vulnerability) -> bool:
        return self.package == found.package and self.id in found.names


def main() -> int:
    parser = argparse.ArgumentParser(prog="make audit-dependencies")
    parser.add_argument("--service", default="", choices=["", "osv", "pypi"], help="osv")
    parser.add_argument("--osv-url", default="", help=OSV)
    asked = parser.parse_args()
    pinned = pins.read_pins(*pins.LOCK_FILES)
    python = audit_python(pinned, service=asked.service or "osv", osv_url=asked.osv_url or OSV)
    return report({"Python": python, "npm": audit_npm(), "bundled": audit_bundled()}, read_accepted())


def read_accepted() -> list[Exemption]:
    """Raises ValueError for an entry without a date or a reason."""
    accepted = []
    for entry in tomllib.loads(ACCEPTED.read_text()).get("accepted", []):
        is_dated = isinstance(entry.get("accepted_on"), datetime.date)
        if entry.keys() != FIELDS or not is_dated or not entry["reason"].strip():
            raise ValueError(f"{ACCEPTED.name}: {entry} needs {', '.join(sorted(FIELDS))}, and nothing else")
        accepted.append(Exemption(entry["id"], entry["package"], entry["reason"]))
    return accepted


def audit_python(pinned: Iterable[tuple[str, str]], *, service: str, osv_url: str) -> Result:
    """pip-audit over pins without their markers: those of other systems too."""
    whole = Result()
    for part in _without_duplicates(pinned):
        with tempfile.TemporaryDirectory(prefix="audit-") as folder:
            listed = Path(folder, "pins.txt")
            listed.write_text("".join(f"{name}=={version}\n" for name, version in part.items()))
            command = [sys.executable, "-m", "pip_audit", "--requirement", str(listed), "--no-deps"]
            command += ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
            command += ["--vulnerability-service", service, "--osv-url", osv_url]
            whole.add(read_pip_audit(*_run(command), part))
    return whole


def _without_duplicates(pinned: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """The pins in parts that pip-audit takes: a package has a version for each Python, but one in a part."""
    parts: list[dict[str, str]] = []
    for name, version in sorted(pinned):
        part = next((one for one in parts if name not in one), None)
        if part is None:
            parts.append(part := {})
        part[name] = version
    return parts


def read_pip_audit(said: str, error: str, pinned: Mapping[str, str]) -> Result:
    """pip-audit ends with 1 for a vulnerability and for an unreachable source, and with 0 when it has
    skipped packages that the source doesn't know: so its report decides, not its exit code."""
    try:
        packages = json.loads(said)["dependencies"]
    except (ValueError, KeyError):
        return Result(unchecked=[f"{len(pinned)} Python packages: {_reason(error)}"])
    result = Result()
    for package in packages:
        if "skip_reason" in package:
            result.unchecked.append(f"{package['name']}: {package['skip_reason']}")
            continue
        result.looked_up += 1
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"])
            advice = f"fixed in {fixed}" if fixed else "no fixed version yet"
            names = frozenset({found["id"], *found["aliases"]})
            result.vulnerabilities.append(Vulnerability(package["name"], package["version"], names, advice))
    missing = pinned.keys() - {package["name"] for package in packages}
    result.unchecked += [f"{name}: not in the report of pip-audit" for name in sorted(missing)]
    return result


def audit_npm() -> Result:
    """`npm audit` of the packages that tests generate a client with."""
    npm = shutil.which("npm")
    if npm is None:
        return Result(unchecked=["every npm package: npm is missing: sudo apt-get install -y npm"])
    said, error = _run([npm, "audit", "--package-lock-only", "--json"], folder=NPM)
    return read_npm_audit(said, error)


def read_npm_audit(said: str, error: str) -> Result:
    try:
        answer: dict[str, Any] = json.loads(said)
    except ValueError:
        return Result(unchecked=[f"every npm package: {_reason(error)}"])
    if "vulnerabilities" not in answer:
        return Result(unchecked=[f"every npm package: {answer.get('message') or _reason(error)}"])
    found, total = answer["vulnerabilities"], answer["metadata"]["dependencies"]["total"]
    result = Result(looked_up=total)
    for package, one in found.items():
        for via in one["via"]:
            if isinstance(via, dict):  # a text names another package of this list
                names = frozenset({str(via["url"]).rpartition("/")[2]})
                advice = f"affects {via['range']}"
                result.vulnerabilities.append(Vulnerability(package, one["range"], names, advice))
    return result


def audit_bundled() -> Result:
    """The programs inside packages, of which no source is asked: what is known is written beside them."""
    return Result(
        looked_up=len(BUNDLED),
        vulnerabilities=[
            Vulnerability(one.name, one.version, one.vulnerabilities, f"fixed in {one.fixed_in}")
            for one in BUNDLED
        ],
    )


def report(results: dict[str, Result], accepted: list[Exemption]) -> int:
    """Print what was found, and return the exit code."""
    findings = 0
    every = [one for result in results.values() for one in result.vulnerabilities]
    for one in every:
        ids = ", ".join(sorted(one.names))
        exemption = next((it for it in accepted if it.covers(one)), None)
        if exemption:
            print(f"accepted   {one.package} {one.version}: {ids}: {exemption.reason}")
        else:
            findings += 1
            print(f"VULNERABLE {one.package} {one.version}: {ids}: {one.advice}")
    unchecked = [reason for result in results.values() for reason in result.unchecked]
    for reason in unchecked:
        print(f"UNCHECKED  {reason}")
    # What could not be looked up may still need its exception.
    unused = [] if unchecked else [it for it in accepted if not any(map(it.covers, every))]
    for it in unused:
        print(f"UNUSED     {it.package}: {it.id} matches nothing: remove it from {ACCEPTED.name}")
    counts = ", ".join(f"{result.looked_up} {name}" for name, result in results.items())
    print(f"packages looked up: {counts}; {findings} vulnerabilities not accepted", flush=True)
    if findings or unused:
        return 1
    if unchecked:
        print("audit-dependencies: NOT CHECKED: this is no clean result", file=sys.stderr, flush=True)
        return 2
    return 0


def _run(command: list[str], *, folder: Path = places.PROJECT) -> tuple[str, str]:
    """What the program prints, and its errors."""
    try:
        ran = children.run(command, within_seconds=LOOKUP_SECONDS, folder=folder)
    except SetupError as error:
        return "", str(error)
    return ran.stdout, ran.stderr


def _reason(error: str) -> str:
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return (lines or ["no output"])[-1]


if __name__ == "__main__":
    sys.exit(main())
