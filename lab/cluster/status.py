"""`make cluster-status`: the members, roles, lag, routes, queue leaders, web nodes and the acting beat."""

import argparse
import json
import sys
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import MySQLdb

from lab.cluster import findings, layout
from lab.cluster.findings import Finding
from lab.cluster.layout import Cluster
from scripts.stack import SetupError

PARTS: Mapping[str, Callable[[Cluster], list[Finding]]] = {
    "processes": findings.processes,
    "database": findings.database,
    "routes": findings.routes,
    "Redis": findings.redis,
    "RabbitMQ": findings.rabbitmq,
    "web": findings.web,
    "beat": findings.beat,
    "Prometheus": findings.prometheus,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make cluster-status", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    asked = parser.parse_args()
    try:
        found = examine(layout.remembered())
    except SetupError as error:
        sys.exit(f"firstcome: {error}")
    if asked.json:
        print(json.dumps({part: [asdict(one) for one in rows] for part, rows in found.items()}, indent=1))
    else:
        print(table(found))
    return 0 if all(one.is_well for rows in found.values() for one in rows) else 1


def examine(cluster: Cluster, *, without: Collection[str] = ()) -> dict[str, list[Finding]]:
    """Every part at the same time: one that hangs delays none of the others."""
    with ThreadPoolExecutor(max_workers=len(PARTS)) as pool:
        asked = {
            part: pool.submit(_ask, look, cluster) for part, look in PARTS.items() if part not in without
        }
        return {part: future.result() for part, future in asked.items()}


def table(found: Mapping[str, list[Finding]]) -> str:
    """The parts one below the other; what is missing begins with an exclamation mark."""
    width = max(len(one.name) for rows in found.values() for one in rows)
    lines: list[str] = []
    for part, rows in found.items():
        lines += ["", part] if lines else [part]
        lines += [f"{' ' if one.is_well else '!'} {one.name:{width}}  {one.text}" for one in rows]
    return "\n".join(lines)


def _ask(look: Callable[[Cluster], list[Finding]], cluster: Cluster) -> list[Finding]:
    try:
        return look(cluster)
    except (OSError, MySQLdb.Error) as error:
        return [Finding("status", f"can't be read: {error}", is_well=False)]


if __name__ == "__main__":
    sys.exit(main())
