"""The rules and Alertmanager's configuration with shorter durations, and nothing else changed.

Waits become a sixtieth. Ranges such as `[5m]` become 10 to 20 seconds: with less they hold too few
scrapes, and with more a burn rate of three days takes minutes to clear.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from scripts import alert_rules

DIVISOR = 60
SHORTEST_WAIT_SECONDS = 1
SHORTEST_RANGE_SECONDS, LONGEST_RANGE_SECONDS = 10, 20
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = r"(?:\d+[smhd])+"
WAITS = ("group_wait", "group_interval", "repeat_interval")


def seconds(duration: str) -> int:
    """What Prometheus writes as `1h30m`. Raises ValueError for another text."""
    if not re.fullmatch(_DURATION, duration):
        raise ValueError(f"not a duration: {duration!r}")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", duration))


def shorten_wait(duration: str) -> str:
    """The duration of a `for`, or of one of Alertmanager's waits."""
    return f"{max(SHORTEST_WAIT_SECONDS, seconds(duration) // DIVISOR)}s"


def shorten_ranges(expression: str) -> str:
    """The expression with all ranges shortened."""
    return re.sub(rf"\[({_DURATION})\]", lambda found: f"[{_shorten_range(found[1])}]", expression)


def write_rules(folder: Path) -> list[Path]:
    """Write all rules shortened into files of this folder; the files, in the rules' order."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write_file(path, folder / path.name) for path in alert_rules.files()]


def alertmanager_configuration() -> str:
    """Alertmanager's configuration with shortened waits."""
    pattern = rf"({'|'.join(WAITS)}): ({_DURATION})"
    text = alert_rules.ALERTMANAGER.read_text()
    return re.sub(pattern, lambda found: f"{found[1]}: {shorten_wait(found[2])}", text)


def _shorten_range(duration: str) -> str:
    shortened = seconds(duration) // DIVISOR
    return f"{min(LONGEST_RANGE_SECONDS, max(SHORTEST_RANGE_SECONDS, shortened))}s"


def _write_file(source: Path, target: Path) -> Path:
    content = yaml.safe_load(source.read_text())
    for group in content["groups"]:
        group["rules"] = [_shorten_rule(rule) for rule in group["rules"]]
    # JSON is YAML.
    target.write_text(json.dumps(content, indent=1))
    return target


def _shorten_rule(rule: dict[str, Any]) -> dict[str, Any]:
    wait = {"for": shorten_wait(rule["for"])} if "for" in rule else {}
    return {**rule, **wait, "expr": shorten_ranges(rule["expr"])}
