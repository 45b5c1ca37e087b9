"""The rules in ops/prometheus: where they are, which alerts they define, and the programs that check them."""

import yaml

from scripts.stack import Json, places, system_packages

OPS = places.PROJECT / "ops"
PROMETHEUS = OPS / "prometheus"
ALERTMANAGER = OPS / "alertmanager/alertmanager.yml"
# The recording rules, then those of alerts: the order in which they depend on one another.
FILES = [PROMETHEUS / "recording.yml", *sorted((PROMETHEUS / "alerts").glob("*.yml"))]
UNIT_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))


def rules() -> list[Json]:
    result = []
    for path in FILES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            result += group["rules"]
    return result


def alerts() -> dict[str, Json]:
    result = {}
    for rule in rules():
        if "alert" in rule:
            result[rule["alert"]] = rule
    return result


def checks() -> list[list[str]]:
    """The commands of Prometheus' and Alertmanager's own tools that must succeed. Raises SetupError."""
    promtool = system_packages.program("promtool")
    amtool = system_packages.program("amtool")
    unit_tests = [[promtool, "test", "rules", str(path)] for path in UNIT_TESTS]
    return [
        # `--syntax-only`: the file with the token is there in the container alone.
        [promtool, "check", "config", "--syntax-only", f"{PROMETHEUS}/prometheus.yml"],
        [promtool, "check", "rules", *map(str, FILES)],
        [amtool, "check-config", str(ALERTMANAGER)],
        *unit_tests,
    ]
