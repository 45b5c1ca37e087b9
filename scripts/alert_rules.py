"""The rules in ops/prometheus: where they are, which alerts they define, and the programs that check them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts.stack import places, system_packages

OPS = places.PROJECT / "ops"
CONFIGURATION = OPS / "prometheus" / "prometheus.yml"
ALERTMANAGER = OPS / "alertmanager" / "alertmanager.yml"


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One alerting rule."""

    name: str
    expression: str
    wait: str
    """How long the expression has to hold before the alert fires, as Prometheus writes durations."""
    severity: str
    annotations: dict[str, str]


def files() -> list[Path]:
    """The recording rules, then those of alerts: the order in which they depend on one another."""
    folder = CONFIGURATION.parent
    return [folder / "recording.yml", *sorted((folder / "alerts").glob("*.yml"))]


def unit_tests() -> list[Path]:
    return sorted((CONFIGURATION.parent / "tests").glob("*.yml"))


def alerts() -> list[Alert]:
    """Every alerting rule, in the order of the files."""
    return [_alert(rule) for rule in _rules() if "alert" in rule]


def expressions() -> list[str]:
    """What every rule evaluates, recording rules included."""
    return [rule["expr"] for rule in _rules()]


def recorded() -> set[str]:
    """The names that recording rules make."""
    return {rule["record"] for rule in _rules() if "record" in rule}


def checks() -> list[list[str]]:
    """The commands of Prometheus' and Alertmanager's own tools that must succeed. Raises SetupError."""
    promtool, amtool = system_packages.program("promtool"), system_packages.program("amtool")
    # `--syntax-only`: the file with the token is there in the container alone.
    configuration = [promtool, "check", "config", "--syntax-only", str(CONFIGURATION)]
    return [
        configuration,
        [promtool, "check", "rules", *map(str, files())],
        [amtool, "check-config", str(ALERTMANAGER)],
        *([promtool, "test", "rules", str(path)] for path in unit_tests()),
    ]


def inhibitions() -> list[tuple[list[re.Pattern[str]], list[re.Pattern[str]]]]:
    """What the names of alerts have to match: the sources and the targets of each inhibition rule."""
    found = yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]
    return [(_names(rule["source_matchers"]), _names(rule["target_matchers"])) for rule in found]


def _rules() -> Iterator[dict[str, Any]]:
    for path in files():
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def _alert(rule: dict[str, Any]) -> Alert:
    return Alert(
        name=rule["alert"],
        expression=rule["expr"],
        wait=rule.get("for", "0s"),
        severity=rule["labels"]["severity"],
        annotations=rule["annotations"],
    )


def _names(matchers: list[str]) -> list[re.Pattern[str]]:
    found = [re.fullmatch(r'alertname=~?"([^"]+)"', matcher) for matcher in matchers]
    return [re.compile(match[1]) for match in found if match]
