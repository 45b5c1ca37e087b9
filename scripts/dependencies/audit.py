"""`make audit-dependencies`: known vulnerabilities and withdrawn releases among the locked packages.

Vulnerabilities are those of PyPI's advisories, asked by pip-audit. A mirror may not offer them; then the
command says so and ends with 2, for a package that was not looked up is not known to be sound. Withdrawn
("yanked") releases are those of the index itself (PEP 592, PEP 691).
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import urllib3

from scripts.dependencies import locked
from scripts.dependencies.locked import Package

ACCEPTED: Mapping[str, tuple[date, str]] = {}
"""Advisories that don't concern the shop, by their id: until which day that is believed, and why."""
INDEX = "https://pypi.org/simple"
JSON_INDEX = "application/vnd.pypi.simple.v1+json"
AUDIT_SECONDS, INDEX_SECONDS, LOOK_UPS_AT_ONCE = 300, 20, 8
SOUND, VULNERABLE, NOT_AUDITED = 0, 1, 2


def main() -> int:
    """The process behind `make audit-dependencies`; its exit code."""
    parser = argparse.ArgumentParser(prog="make audit-dependencies")
    parser.add_argument("--index", default=INDEX, help="of packages, as PEP 691 describes it")
    asked = parser.parse_args()
    packages = sorted({package for lock in locked.LOCKS for package in locked.packages(lock)})
    print(f"{len(packages)} packages of {', '.join(lock.name for lock in locked.LOCKS)}")
    return conclude(*advisories(_audited(), today=date.today()), *withdrawn(packages, asked.index))


def conclude(findings: list[str], unknown: list[str], withdrawn: list[str], not_found: list[str]) -> int:
    """Print what is known; the exit code."""
    for line in (*findings, *withdrawn):
        print(f"FINDING {line}")
    for what, names in (("advisories", unknown), ("the index", not_found)):
        if names:
            some = ", ".join(names[:5]) + ", …" * (len(names) > 5)
            print(f"NOT AUDITED: {len(names)} packages have no answer from {what}: {some}")
    if findings or withdrawn:
        return VULNERABLE
    if unknown or not_found:
        return NOT_AUDITED
    print("no known vulnerability, no withdrawn release")
    return SOUND


def advisories(audited: Iterable[Mapping[str, Any]], *, today: date) -> tuple[list[str], list[str]]:
    """What pip-audit found that isn't accepted, and the packages that it could not look up."""
    findings, unknown = set(), set()
    for package in audited:
        if "skip_reason" in package:
            unknown.add(package["name"])
        for one in package.get("vulns", ()):
            until = max(
                (ACCEPTED[name][0] for name in (one["id"], *one["aliases"]) if name in ACCEPTED), default=None
            )
            if until is None or until < today:
                mended = ", ".join(one["fix_versions"]) or "no release"
                findings.add(f"{package['name']} {package['version']}: {one['id']}, mended in {mended}")
    return sorted(findings), sorted(unknown)


def _audited() -> list[Mapping[str, Any]]:
    """Every locked package with its advisories, or with the reason why it could not be looked up."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    command += ["--disable-pip", "--require-hashes"]
    found: list[Mapping[str, Any]] = []
    for lock in locked.LOCKS:
        ran = subprocess.run(
            [*command, "--requirement", str(lock)], capture_output=True, text=True, timeout=AUDIT_SECONDS
        )
        try:
            found += json.loads(ran.stdout)["dependencies"]
        except ValueError:
            reason = (ran.stderr.strip().splitlines() or ["no output"])[-1]
            print(f"pip-audit: {lock.name}: {reason}", file=sys.stderr)
            found += [{"name": one.name, "skip_reason": reason} for one in locked.packages(lock)]
    return found


def withdrawn(packages: Iterable[Package], index: str) -> tuple[list[str], list[str]]:
    """The locked releases that the index has withdrawn, and the packages of which it says nothing."""
    found, not_found = [], []
    with (
        urllib3.PoolManager(maxsize=LOOK_UPS_AT_ONCE) as http,
        ThreadPoolExecutor(LOOK_UPS_AT_ONCE) as threads,
    ):
        asked = [(package, threads.submit(_files, http, index, package.name)) for package in packages]
        for package, answer in asked:
            try:
                reasons = list(withdrawals(package, answer.result()))
            except (urllib3.exceptions.HTTPError, OSError, ValueError, KeyError):
                not_found.append(package.name)
                continue
            if reasons:
                found.append(f"{package} is withdrawn: {reasons[0]}")
    return found, not_found


def _files(http: urllib3.PoolManager, index: str, name: str) -> list[Mapping[str, Any]]:
    answer = http.request("GET", f"{index}/{name}/", headers={"Accept": JSON_INDEX}, timeout=INDEX_SECONDS)
    if answer.status != 200:
        raise ValueError(f"{name}: {answer.status}")
    files: list[Mapping[str, Any]] = answer.json()["files"]
    return files


def withdrawals(package: Package, files: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Why files that the lock allows were withdrawn. Raises ValueError when the index has none of them."""
    ours = [file for file in files if file["hashes"].get("sha256") in package.sums]
    if not ours:
        raise ValueError(f"the index has no locked file of {package}")
    for file in ours:
        if file.get("yanked"):
            yield file["yanked"] if isinstance(file["yanked"], str) else "no reason given"


if __name__ == "__main__":
    sys.exit(main())
