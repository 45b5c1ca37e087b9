"""The compose file and what it mounts, held against the compose specification's schema and our own code.

No container is started here: what is checked is the text. docs/operations.md says what a real engine showed.
"""

import importlib.resources
import json
import re
import shlex
import tomllib

import pytest
import yaml

from foundation.http import preferences
from lab.containers import __main__ as checks, engine
from orders.saga import run
from scripts.stack import SetupError, places
from scripts.tests import documented

DOCKER = places.PROJECT / "scripts" / "docker"
TEXT = (places.PROJECT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
SIMULATORS = yaml.safe_load((DOCKER / "simulators.yml").read_text())
DOCKERFILE = (places.PROJECT / "Dockerfile").read_text()
UNITS = places.PROJECT / "ops" / "systemd"
MONITORING_DOCKERFILE = (places.PROJECT / "ops" / "monitoring" / "Dockerfile").read_text()
OURS = ("migrate", "web", "worker", "beat", "issuer")
MONITORING = ("alertmanager", "redis_exporter", "mysql_exporter")
ORACLE = "container-registry.oracle.com"


@pytest.mark.boots("the schemas of check-jsonschema, which it needs")
def test_the_files_are_valid_by_the_compose_specification():
    # Takes a second, which each process that collects the tests would spend.
    import jsonschema

    package = importlib.resources.files("check_jsonschema")
    schema = json.loads((package / "builtin_schemas" / "vendor" / "compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)
    jsonschema.validate(SIMULATORS, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(COMPOSE | {"services": {"web": {"imagge": "firstcome"}}}, schema)


def test_every_service_is_checked_on_the_engine_or_named_as_left_out():
    assert {*SERVICES, *SIMULATORS["services"]} == engine.KNOWN


def test_no_secret_has_a_default():
    used = re.findall(r"\$\{([A-Z_]+):[?-]([^{}]*|\$\{[A-Z_]+(?::\?)?\})\}", TEXT)
    secret = {(name, default) for name, default in used if re.search("SECRET|PASSWORD|TOKEN|KEY", name)}
    assert len(secret) >= 10
    assert not {name for name, default in secret if default}
    # One that may be empty is one of several, or of a gateway that may not be in use.
    assert not {name for name in re.findall(r"\$\{([A-Z_]+):-", TEXT) if name.endswith("PASSWORD")}


def test_the_settings_without_which_nothing_starts_are_listed_for_operators():
    page = (places.PROJECT / "docs" / "operations.md").read_text()
    listed = re.search(r"What has no default must be(.+?)\. A `\.env`", page, flags=re.DOTALL)
    assert listed
    required = set(re.findall(r"\$\{([A-Z_]+):\?\}", TEXT))
    assert "EVENT_SECRET" in required
    assert set(re.findall(r"`([A-Z_]{3,})`", listed[1])) == required


def test_what_charging_needs_goes_to_the_processes_that_call_the_gateway_and_to_no_other():
    # Without the key a process refuses to start where its settings say that the gateway is Stripe.
    for needed in ("STRIPE_API_KEY", "PAYMENT_GATEWAY", "PAYMENT_ACTION_SECONDS", "WEB_PAYMENTS"):
        has = {name for name, service in SERVICES.items() if needed in _environment(service)}
        assert has == {"web", "worker", "beat"}, needed


def test_the_database_servers_root_password_is_not_drawn_into_its_log():
    environment = _environment(SERVICES["mysql"])
    assert "MYSQL_RANDOM_ROOT_PASSWORD" not in environment
    assert environment["MYSQL_ROOT_HOST"] == "localhost"


def test_redis_requires_a_password_and_every_client_has_it():
    command = SERVICES["redis"]["command"]
    password = command[command.index("--requirepass") + 1]
    assert "REDIS_PASSWORD" in password
    assert SERVICES["redis"]["environment"]["REDISCLI_AUTH"] == password
    for name in OURS:
        assert SERVICES[name]["environment"]["REDIS_URL"] == f"redis://:{password}@redis:6379/0", name


def test_waiting_clients_are_answered_before_web_is_killed_on_stop():
    """Compose's own time is 10 s: web ended with 137, and clients got no answer."""
    answered_for = int(re.findall(r"--graceful-timeout (\d+)", DOCKERFILE)[0]) - 1
    assert answered_for > preferences.MAX_WAIT_SECONDS
    assert _seconds(SERVICES["web"]["stop_grace_period"]) >= answered_for + 5


def test_every_image_from_outside_has_a_digest_and_a_release_that_is_listed():
    """A tag such as 8.4 is another image next month, which was never tested."""
    files = [DOCKER / "exact_versions.yml", *(places.PROJECT / "ops").rglob("*.yml")]
    texts = [TEXT, DOCKERFILE, MONITORING_DOCKERFILE, *(file.read_text() for file in files)]
    named = re.findall(r"(?:image: |PYTHON: |PYTHON=)(\S+:\S+)", "\n".join(texts))
    listed = tomllib.loads((places.PROJECT / "ops/servers.toml").read_text())
    of_release = {image: name.split()[1] for name, one in listed.items() for image in one.get("images", ())}
    assert of_release.keys() == {image.partition("@")[0] for image in named}
    assert all(re.search(rf":v?{release}\b", image) for image, release in of_release.items())
    # Of the Dockerfiles, whose digest is in exact_versions.yml, and one whose digest nobody says.
    without = {image for image in named if "@sha256:" not in image}
    assert without == {"python:3.13-slim-trixie", f"{ORACLE}/mysql/community-server:9.7.0"}


def test_no_container_may_take_all_memory_or_processes_of_the_machine():
    for name, service in (SERVICES | SIMULATORS["services"]).items():
        limit = service["mem_limit"]
        assert int(limit[:-1]) * {"m": 1, "g": 1024}[limit[-1]] <= 2048, name
        assert service["pids_limit"] <= 1024, name


def test_the_threads_of_all_web_processes_fit_into_their_containers_limit():
    """While the broker is away each of them has a saga executor's threads beside its own."""
    workers, threads = (
        int(re.findall(rf"\$\{{{name}:-(\d+)\}}", TEXT)[0]) for name in ("WEB_WORKERS", "WEB_THREADS")
    )
    assert SERVICES["web"]["pids_limit"] > workers * (threads + sum(run.POOL_SIZES.values()) + 50)


def test_every_folder_in_memory_has_a_size_and_metrics_have_one_of_their_own():
    for name in (*OURS, *MONITORING):
        folders = dict(mount.split(":", 1) for mount in SERVICES[name]["tmpfs"])
        assert all("size=" in options for options in folders.values()), name
    metrics = SERVICES["web"]["environment"]["PROMETHEUS_MULTIPROC_DIR"]
    assert metrics != "/tmp"
    mounted = {mount.split(":")[0] for mount in SERVICES["web"]["tmpfs"]}
    assert mounted == {metrics}
    # Exports are larger than memory has room for.
    assert SERVICES["web"]["volumes"] == ["/tmp"]


def test_every_setting_it_passes_is_one_of_ours(tmp_path):
    passed = set(SERVICES["web"]["environment"]) - {"PROMETHEUS_MULTIPROC_DIR"}
    assert passed <= documented.example_settings(tmp_path).keys()
    assert {"DATABASE_URL", "REDIS_URL", "BROKER_URL", "SECRET_KEY"} <= passed
    assert {"WEB_WORKERS", "WEB_THREADS", "TRUSTED_PROXIES"} <= passed


def test_only_the_proxy_is_reached_from_outside_and_the_shop_believes_what_it_appends():
    assert "ports" not in SERVICES["web"]
    assert SERVICES["proxy"]["ports"] == ["127.0.0.1:8000:8000"]
    assert SERVICES["web"]["environment"]["TRUSTED_PROXIES"] == "${TRUSTED_PROXIES:-1}"
    proxy = places.PROJECT / "ops" / "proxy" / "haproxy.cfg"
    assert set(re.findall(r"\$\{(\w+)", proxy.read_text())) == SERVICES["proxy"]["environment"].keys()
    assert "http-request set-header X-Forwarded-For %[src]" in proxy.read_text()


def test_every_process_that_counts_exposes_it_to_prometheus_alone():
    for name in ("worker", "beat", "issuer"):
        passed = SERVICES[name]["environment"]
        assert (passed["METRICS_HOST"], passed["METRICS_PORT"]) == ("0.0.0.0", 9101)
        assert passed["METRICS_TOKEN"] == SERVICES["web"]["environment"]["METRICS_TOKEN"]
        assert "PROMETHEUS_MULTIPROC_DIR" not in passed, "its counts would be added to those of web"
        assert "ports" not in SERVICES[name]


def test_nothing_is_published_beyond_loopback():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published and all(port.startswith("127.0.0.1:") for port in published)


def test_the_units_of_a_plain_server_have_these_commands_and_times_to_stop():
    """Beat had Compose's 10 s, and took 8 of them on a busy machine."""
    [web] = re.findall(r'^CMD \["sh", "-c", "exec (.+)"\]$', DOCKERFILE, flags=re.MULTILINE)
    # Addresses and folders differ; the issuer's file is for the health check of containers.
    differs = r"\S+:800\d|/\S+/(?:beat-)?schedule| --alive \S+|\$\{WEB_WORKERS[^}]*\}"
    for name in OURS[1:]:
        unit = (UNITS / f"firstcome-{name}.service").read_text()
        [own] = re.findall(r"^ExecStart=/opt/firstcome/\.venv/bin/(.+)$", unit, flags=re.MULTILINE)
        command = web if name == "web" else shlex.join(SERVICES[name]["command"])
        assert shlex.split(re.sub(differs, "", own)) == shlex.split(re.sub(differs, "", command))
        seconds = _seconds(SERVICES[name]["stop_grace_period"])
        assert seconds >= 30 and f"\nTimeoutStopSec={seconds}\n" in unit
        assert f"firstcome-{name}.service" in (UNITS / "firstcome.target").read_text()


def test_the_settings_of_a_plain_server_are_ours_with_all_that_are_required_here(tmp_path):
    example = set(re.findall(r"^([A-Z_]+)=", (UNITS / "firstcome.env").read_text(), flags=re.MULTILINE))
    assert example <= documented.example_settings(tmp_path).keys()
    # Passwords are the servers', and the address is the gateway's simulator.
    missing = set(re.findall(r"\$\{([A-Z_]+):\?\}", TEXT)) - example
    assert {name for name in missing if not name.endswith("_PASSWORD")} == {"GATEWAY_URL"}


def test_a_migrate_that_always_fails_ends_docker_compose_up():
    """Restarted without end it was waited for without end, after a setting that is refused for example."""
    assert re.fullmatch(r"on-failure:[1-9]", SERVICES["migrate"]["restart"])


def test_the_image_holds_every_app_and_runs_without_root():
    copied = re.findall(r"^COPY (\w+) \1$", DOCKERFILE, flags=re.MULTILINE)
    assert set(copied) == {*places.APPS}
    assert DOCKERFILE.count("FROM ") == 2
    assert DOCKERFILE.index("USER firstcome") < DOCKERFILE.index("CMD ")
    # A user that is no system account may have this number: useradd warns otherwise.
    assert "useradd --uid 10001 " in DOCKERFILE


def test_redis_keeps_queued_tasks():
    command = " ".join(SERVICES["redis"]["command"])
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command


def test_what_watches_is_as_shut_as_the_shop():
    for name in (*MONITORING, "proxy"):
        service = SERVICES[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
    assert MONITORING_DOCKERFILE.index("useradd") < MONITORING_DOCKERFILE.index("USER monitoring")


def test_the_update_is_the_documented_one_with_changed_source_and_a_migration(tmp_path):
    [commands] = checks.documented(places.PROJECT, "upgrading.md", checks.UPDATE)
    assert commands[0].startswith("docker compose build")
    assert "docker compose run --rm migrate" in commands
    assert commands[-1] == "docker compose up -d"
    for folder in ("shop", "orders/migrations"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").write_text('"""The shop."""\n')
    for name in ("0001_initial.py", "0002_more.py", "__init__.py"):
        (tmp_path / "orders" / "migrations" / name).touch()
    checks.change_source(tmp_path)
    assert "UPDATED" in (tmp_path / "shop" / "__init__.py").read_text()
    migration = (tmp_path / "orders" / "migrations" / "0003_an_update.py").read_text()
    assert '("orders", "0002_more")' in migration
    compile(migration, "0003_an_update.py", "exec")


def test_a_backup_and_its_restore_are_the_documented_ones():
    backing_up, restoring = checks.documented(places.PROJECT, "howto/restore-a-backup.md", checks.RESTORE)
    assert " mysqldump -uroot --single-transaction " in backing_up[0]
    assert all(line.startswith("docker ") for line in restoring)
    with pytest.raises(SetupError):
        checks.documented(places.PROJECT, "operations.md", checks.RESTORE)


def _environment(service):
    return dict(service.get("environment", {}))


def _seconds(text):
    return int(text.removesuffix("s"))
