"""The compose file and what it mounts, held against the compose specification's schema and our own code.

No container is started here: what was checked is the text.
"""

import importlib.resources
import json
import re
from typing import Any

import django_prometheus.middleware
import jsonschema
import pytest
import yaml
from prometheus_client import CollectorRegistry

from scripts import places, settings_file
from shop import gauges

COMPOSE = yaml.safe_load((places.PROJECT / "docker-compose.yml").read_text())
DOCKER = places.PROJECT / "scripts" / "docker"


def test_the_file_is_valid_by_the_compose_specification():
    package = importlib.resources.files("check_jsonschema")
    schema = json.loads((package / "builtin_schemas" / "vendor" / "compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(COMPOSE | {"services": {"web": {"imagge": "firstcome"}}}, schema)


def test_it_has_all_the_parts():
    parts = {
        "migrate",
        "web",
        "worker",
        "beat",
        "issuer",
        "mysql",
        "redis",
        "rabbitmq",
        "prometheus",
        "grafana",
    }
    assert COMPOSE["services"].keys() == parts
    assert COMPOSE["services"]["mysql"]["image"].startswith("mysql:8.4")


def test_no_secret_has_a_default():
    text = (places.PROJECT / "docker-compose.yml").read_text()
    used = re.findall(r"\$\{([A-Z_]+)(:[?-])([^}]*)\}", text)
    secret = [(name, default) for name, _, default in used if re.search("SECRET|PASSWORD|TOKEN", name)]
    assert len(secret) >= 6
    assert [name for name, default in secret if default] == []


def test_every_setting_it_passes_is_one_of_ours(tmp_path):
    example = (places.PROJECT / ".env.example").read_text()
    uncommented = tmp_path / ".env"
    uncommented.write_text(re.sub(r"^#(?=[A-Z_]+=)", "", example, flags=re.MULTILINE))
    passed = set(COMPOSE["services"]["web"]["environment"]) - {"PROMETHEUS_MULTIPROC_DIR"}
    assert passed <= settings_file.read(uncommented).keys()
    assert {"DATABASE_URL", "REDIS_URL", "BROKER_URL", "SECRET_KEY"} <= passed


def test_nothing_is_published_beyond_loopback():
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_every_long_running_service_says_whether_it_is_healthy():
    for name, service in COMPOSE["services"].items():
        assert name == "migrate" or "healthcheck" in service, name


def test_redis_keeps_queued_tasks():
    command = " ".join(COMPOSE["services"]["redis"]["command"])
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command


def test_every_mounted_file_is_there_and_reads():
    mounted = [
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]
    assert len(mounted) == 4
    for name in mounted:
        assert yaml.safe_load((places.PROJECT / name).read_text()), name


def test_the_dashboard_asks_for_metrics_that_exist():
    board: Any = json.loads((DOCKER / "grafana" / "shop.json").read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"(?:django_http|firstcome)_\w+", target["expr"])
    }
    assert asked
    assert asked <= _exported_names() | set(gauges._gauges)


def test_the_image_holds_every_app_and_runs_without_root():
    text = (places.PROJECT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (\w+) \1$", text, flags=re.MULTILINE)
    assert set(copied) == {"shop", "coupons", "inventory", "payments", "orders"}
    assert text.count("FROM ") == 2
    assert text.index("USER firstcome") < text.index("CMD ")


def _exported_names() -> set[str]:
    """The names under which django-prometheus exports, suffixes included."""
    metrics = django_prometheus.middleware.Metrics.get_instance()
    registry = CollectorRegistry()
    for metric in vars(metrics).values():
        registry.register(metric)
    names = set(registry._names_to_collectors)
    return names | {f"{name}_bucket" for name in names}
