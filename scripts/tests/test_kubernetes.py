"""The manifests of ops/kubernetes: valid by the published schemas, as the code says, and large enough.

No cluster is started here: docs/kubernetes.md says what was not checked.
"""

import copy
import json
import math
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from django.conf import settings
from django.urls import Resolver404, resolve

from accounts.signing_in.password_hashing import HASHING_POOL
from coupons.queue import worker as queue_worker
from foundation.concurrency.thread_pool import ACCOUNTS_POOL, LOOKUP_POOL, PROBE_POOL, WELCOME_POOL
from foundation.operations import dispatch, health
from foundation.tests.case_tables import in_one_test
from orders.saga import run
from scripts.stack import places
from scripts.tests import documented, programs

pytestmark = pytest.mark.boots("kubectl and promtool")

DOCKERFILE = (places.PROJECT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((places.PROJECT / "docker-compose.yml").read_text())["services"]
OURS = {"migrate", "web", "worker", "issuer", "beat"}
LONG_RUNNING = OURS - {"migrate"}
FOLDER = places.PROJECT / "ops" / "kubernetes"
PRODUCTION, EXTERNAL = "overlays/production", "overlays/external"
OLDEST, NEWEST = "1.35", "1.37"
"""The releases of Kubernetes that docs/kubernetes.md names."""

Manifest = dict[str, Any]
_KUBECTL = str(Path(sys.executable).with_name("kubectl"))
_CUSTOM_RESOURCES = Path(__file__).with_name("custom_resources")
every_overlay = in_one_test("overlay", (PRODUCTION, EXTERNAL))


@lru_cache
def render(name: str) -> tuple[Manifest, ...]:
    """Every object of this folder of ops/kubernetes."""
    return tuple(yaml.safe_load_all(programs.run([_KUBECTL, "kustomize", str(FOLDER / name)])))


def find(name: str, kind: str, *, named: str) -> Manifest:
    [found] = [one for one in of_kind(name, kind) if one["metadata"]["name"] == named]
    return found


def of_kind(name: str, *kinds: str) -> list[Manifest]:
    return [one for one in render(name) if one["kind"] in kinds]


def of_the_shop(name: str) -> dict[str, Manifest]:
    """The Deployments and Jobs of the shop's own processes, by the process's name."""
    return {
        labels_of(workload)["app.kubernetes.io/component"]: workload
        for workload in of_kind(name, "Deployment", "Job")
        if container_of(workload)["name"] == "shop"
    }


def labels_of(workload: Manifest) -> dict[str, str]:
    """Of its pods."""
    return workload["spec"]["template"]["metadata"]["labels"]


def pod_of(workload: Manifest) -> Manifest:
    return workload["spec"]["template"]["spec"]


def container_of(workload: Manifest) -> Manifest:
    """The one container of its pod."""
    [found] = pod_of(workload)["containers"]
    return dict(found)


def every_container(workload: Manifest) -> Iterator[Manifest]:
    yield from pod_of(workload).get("initContainers", [])
    yield from pod_of(workload)["containers"]


def environment_of(name: str, found: Manifest) -> dict[str, Any]:
    """The variables of a container: a value, from a ConfigMap or of its own, or the reference to a secret."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(name, "ConfigMap")}
    variables: dict[str, Any] = {}
    for source in found.get("envFrom", []):
        variables |= maps[source["configMapRef"]["name"]]
    for variable in found.get("env", []):
        variables[variable["name"]] = variable.get("value") or variable["valueFrom"]["secretKeyRef"]
    return variables


def autoscaler() -> Manifest:
    return find(PRODUCTION, "HorizontalPodAutoscaler", named="web")["spec"]


def cluster() -> Manifest:
    return find(PRODUCTION, "InnoDBCluster", named="mysql")["spec"]


def server_options() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.+)$", cluster()["mycnf"], flags=re.MULTILINE))


def validate(manifest, version: str):
    """Raises `ValidationError` where the schema refuses the object, or doesn't have one of its fields."""
    own = _CUSTOM_RESOURCES / f"{manifest['kind']}.json"
    if own.exists():
        jsonschema.validate(manifest, json.loads(own.read_text()))
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


@every_overlay
@in_one_test("version", [OLDEST, NEWEST])
def test_every_object_is_valid_by_the_schemas_of_kubernetes_and_of_the_operators(overlay, version):
    manifests = render(overlay)
    assert manifests
    for manifest in manifests:
        validate(manifest, version)


@in_one_test("kind", ["Deployment", "NetworkPolicy", "InnoDBCluster", "RabbitmqCluster"])
def test_a_field_that_the_schema_does_not_have_is_refused(kind):
    broken = copy.deepcopy(of_kind(PRODUCTION, kind)[0])
    broken["spec"]["replicaz"] = 3
    with pytest.raises(jsonschema.ValidationError):
        validate(broken, NEWEST)


@every_overlay
def test_the_processes_are_those_of_the_compose_file_by_the_same_commands(overlay):
    workloads = of_the_shop(overlay)
    assert workloads.keys() == OURS
    for name, workload in workloads.items():
        assert container_of(workload).get("command") == COMPOSE[name].get("command"), name


@every_overlay
def test_every_variable_is_a_setting_and_no_value_of_a_secret_is_in_a_manifest(overlay, tmp_path):
    known = documented.example_settings(tmp_path).keys() | {"PROMETHEUS_MULTIPROC_DIR"}
    assert of_kind(overlay, "Secret") == []
    for name, workload in of_the_shop(overlay).items():
        for container in every_container(workload):
            assert environment_of(overlay, container).keys() <= known, name
            for variable, value in environment_of(overlay, container).items():
                is_public = variable in {"DATA_PLATFORM_URL", "GATEWAY_URL", "PAYMENT_RETURN_URL"}
                is_secret = re.search("SECRET|PASSWORD|TOKEN|KEY|_URL$", variable) and not is_public
                assert isinstance(value, dict) == bool(is_secret), (name, variable)


@every_overlay
def test_the_gateways_key_goes_to_the_processes_that_call_it_and_to_no_other(overlay):
    needed = ("STRIPE_API_KEY", "PAYMENT_GATEWAY", "EVENT_SECRET")
    for variable in (*needed, "PAYMENT_RETURN_URL", "PAYMENT_ACTION_SECONDS"):
        has = {name for name in of_the_shop(overlay) if variable in _variables(overlay, name)}
        assert has == {"web", "worker", "beat"}, variable
    assert _selected_by(find(overlay, "NetworkPolicy", named="calls-outside"), overlay) == has


@every_overlay
def test_webhooks_reach_every_port_of_public_addresses_and_no_private_one(overlay):
    names = ("webhooks-are-sent", "calls-outside")
    sent, calls = (find(overlay, "NetworkPolicy", named=name) for name in names)
    [webhooks], [others] = (policy["spec"]["egress"] for policy in (sent, calls))
    assert webhooks["ports"] == [{"protocol": "TCP", "port": 1, "endPort": 65535}]
    assert webhooks["to"] == others["to"]
    assert _selected_by(sent, overlay) == {"worker"}


@every_overlay
def test_no_process_starts_before_its_migrations(overlay):
    for name in LONG_RUNNING:
        [waiting] = pod_of(of_the_shop(overlay)[name])["initContainers"]
        assert "manage.py migrate --check" in waiting["command"][-1], name
        assert waiting["image"] == container_of(of_the_shop(overlay)[name])["image"]


@every_overlay
def test_every_pod_is_as_shut_as_the_standard_restricted_wants(overlay):
    for workload in of_kind(overlay, "Deployment", "Job"):
        pod, name = pod_of(workload), workload["metadata"]["name"]
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in every_container(workload):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert container["resources"]["limits"].keys() == {"memory"}, name
        for volume in pod.get("volumes", []):
            assert "configMap" in volume or volume["emptyDir"]["sizeLimit"], name


@every_overlay
def test_probes_and_ports_are_those_that_exist(overlay):
    workloads = of_the_shop(overlay)
    web = container_of(workloads["web"])
    assert [port["containerPort"] for port in web["ports"]] == [
        int(re.findall(r"EXPOSE (\d+)", DOCKERFILE)[0])
    ]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert web[probe]["httpGet"]["port"] == web["ports"][0]["name"]
        # Never /readyz, which is 503 while Redis or the broker alone is down.
        assert resolve(web[probe]["httpGet"]["path"]).func.__name__ == "healthz"
    for name in LONG_RUNNING - {"web"}:
        container = container_of(workloads[name])
        variables = environment_of(overlay, container)
        assert [port["containerPort"] for port in container["ports"]] == [int(variables["METRICS_PORT"])], (
            name
        )
        # Prometheus and the probe reach it by the pod's address, so it needs the token.
        assert variables["METRICS_HOST"] == "0.0.0.0", name
        assert "METRICS_TOKEN" in variables, name
        assert "livenessProbe" in container, name


def test_a_stop_is_longer_than_what_it_waits_for():
    workloads = of_the_shop(PRODUCTION)
    stop = int(re.findall(r"--graceful-timeout (\d+)", DOCKERFILE)[0])
    web = container_of(workloads["web"])
    announced = web["lifecycle"]["preStop"]["sleep"]["seconds"]
    readiness = web["readinessProbe"]
    assert announced >= readiness["periodSeconds"]
    assert pod_of(workloads["web"])["terminationGracePeriodSeconds"] >= announced + stop + 5
    # The broker gives out again what a worker that was ended has not done.
    assert pod_of(workloads["worker"])["terminationGracePeriodSeconds"] >= 125


def test_no_pod_is_taken_away_before_another_serves():
    for name in LONG_RUNNING:
        strategy = of_the_shop(PRODUCTION)[name]["spec"]["strategy"]
        assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}, name
    budgets = [one["spec"] for one in of_kind(PRODUCTION, "PodDisruptionBudget")]
    named = [one["selector"]["matchLabels"].get("app.kubernetes.io/component") for one in budgets]
    protected = dict(zip(named, (one["maxUnavailable"] for one in budgets), strict=True))
    for name, workload in of_the_shop(PRODUCTION).items():
        if name in LONG_RUNNING:
            replicas = workload["spec"].get("replicas") or autoscaler()["minReplicas"]
            # A budget over one pod keeps its node from being drained.
            assert (name in protected) == (replicas > 1), name


def test_members_of_the_group_and_of_the_broker_keep_what_was_acknowledged_and_give_up_soon():
    settings = server_options()
    assert settings["innodb_flush_log_at_trx_commit"] == settings["sync_binlog"] == "1"
    assert settings["loose_group_replication_member_expel_timeout"] == "0"
    assert settings["loose_group_replication_unreachable_majority_timeout"] == "5"
    assert settings["loose_group_replication_consistency"] == "BEFORE_ON_PRIMARY_FAILOVER"
    assert cluster()["instances"] == 3
    assert cluster()["router"]["instances"] == 2
    variables = _variables(PRODUCTION, "worker")
    assert int(variables["PAYMENT_GIVE_UP_SECONDS"]) >= 60
    # A classic queue is away with its node, while the broker still accepts what is sent to it.
    nodes = find(PRODUCTION, "RabbitmqCluster", named="rabbitmq")["spec"]["replicas"]
    assert (nodes >= 3) == (variables.get("BROKER_QUEUE_TYPE") == "quorum")


@every_overlay
def test_every_policy_and_service_selects_pods_that_exist(overlay):
    pods = [labels_of(one) for one in of_kind(overlay, "Deployment", "Job")]
    # What the operators make.
    cluster = {"mysql.oracle.com/cluster": "mysql"}
    pods += [{"component": "mysqld"} | cluster, {"component": "mysqlrouter"} | cluster]
    pods += [{"app.kubernetes.io/name": "rabbitmq"}]
    # Of the cluster's own name server.
    pods += [{"k8s-app": "kube-dns"}]
    found = 0
    for manifest in of_kind(overlay, "NetworkPolicy", "Service", "PodDisruptionBudget"):
        for selector in _selectors(manifest["spec"]):
            found += 1
            assert any(selector.items() <= pod.items() for pod in pods), (manifest["metadata"], selector)
    assert found > 10


@every_overlay
def test_nothing_is_open_by_default_and_every_process_reaches_its_servers(overlay):
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(overlay, "NetworkPolicy")}
    nothing = policies["nothing-by-default"]
    assert nothing["policyTypes"] == ["Ingress", "Egress"]
    assert nothing.keys() == {"podSelector", "policyTypes"}
    ports = {port["port"] for rule in policies["shop-reaches-servers"]["egress"] for port in rule["ports"]}
    assert ports == ({6446, 5672, 6379} if overlay == PRODUCTION else {3306, 5672, 6379})


@every_overlay
def test_what_is_public_exists_and_metrics_and_readiness_are_not(overlay):
    [ingress] = of_kind(overlay, "Ingress")
    paths = {path["path"]: path["pathType"] for path in ingress["spec"]["rules"][0]["http"]["paths"]}
    assert paths == {"/": "Exact", "/api": "Prefix", "/admin": "Prefix", "/static": "Prefix"}
    for public in ("/", "/api/v1/products", "/api/docs/", "/admin/"):
        assert resolve(public)
    assert settings.STATIC_URL.strip("/") == "static"
    for path in ("/metrics", "/readyz", "/healthz"):
        assert resolve(path)
        assert not any(
            kind == "Prefix" and f"{path}/".startswith(f"{prefix}/") for prefix, kind in paths.items()
        )
    with pytest.raises(Resolver404):
        resolve("/elsewhere")
    [host] = {rule["host"] for rule in ingress["spec"]["rules"]}
    assert [tls["hosts"] for tls in ingress["spec"]["tls"]] == [[host]]
    [service] = {path["backend"]["service"]["name"] for path in ingress["spec"]["rules"][0]["http"]["paths"]}
    assert find(overlay, "Service", named=service)
    variables = _variables(overlay, "web")
    assert host in variables["ALLOWED_HOSTS"].split(",")
    assert variables["CSRF_TRUSTED_ORIGINS"] == f"https://{host}"


def _variables(overlay, name):
    return environment_of(overlay, container_of(of_the_shop(overlay)[name]))


def _selected_by(policy, overlay):
    """The processes of the shop that the policy is for."""
    selected = policy["spec"]["podSelector"]["matchLabels"].items()
    workloads = of_the_shop(overlay)
    return {name for name, one in workloads.items() if selected <= labels_of(one).items()}


def _selectors(spec):
    """Every selector of pods in it: a Service's, and those of policies and budgets."""
    if isinstance(spec, list):
        return [selector for one in spec for selector in _selectors(one)]
    if not isinstance(spec, dict):
        return []
    found = []
    for key, value in spec.items():
        if key in {"podSelector", "selector"}:
            found.append(value.get("matchLabels", value))
        else:
            found += _selectors(value)
    return found


MIB, GIB = 2**20, 2**30
UNITS = {"M": MIB, "G": GIB, "Mi": MIB, "Gi": GIB}
POD_STARTS_SECONDS = 20
"""How soon a new pod is available: then the next old one begins to end."""
WATCHERS = 4
"""Threads of every process: the clock, the database's watch, stuck rows, lost COMMITs."""
WAITING_ROOMS = 1
"""The thread of a web process that advances them."""
SCRAPE = 2
OUTSIDE_CALLS = {"outside_call"}
"""Threads of the saga executor that use no connection."""
SAGA_EXECUTOR = sum(size for pool, size in run.POOL_SIZES.items() if pool not in OUTSIDE_CALLS) + 1
"""And the thread that renews leases."""
WORK_IN_PLACE_OF_WORKERS = dispatch.THREADS + SAGA_EXECUTOR
"""In a process that dispatches, while the broker is away."""
OTHERS = 40
"""Migrations and their checks, the exporter, the operator, commands and people."""

POOL_OVERHEAD = 1.1
"""MySQL allocates about a tenth more than innodb_buffer_pool_size, for its control structures."""
MESSAGE_CACHE_STRUCTURES = 50 * MIB
"""Beside group_replication_message_cache_size, by MySQL's manual."""
CONNECTION = MIB
"""Its thread, buffers, caches of the binary log and rows of the performance schema: an estimate."""
PERFORMANCE_SCHEMA = 400 * MIB
SERVER = 512 * MIB
"""Code, log buffer, cached tables, appliers and what certification remembers."""
ROUTER, ROUTER_CONNECTION = 100 * MIB, 200 * 1024
USED = 0.95
"""Of a limit, at most."""


def test_the_database_and_its_routers_accept_the_connections_of_all_pods():
    needed = sum(pods * connections for pods, connections in _pods_and_connections().values()) + OTHERS
    assert int(server_options()["max_connections"]) >= needed
    # Either Router may be alone.
    assert _router_connections() >= needed


def test_the_memory_of_mysql_and_its_routers_holds_their_caches_and_the_connections_that_they_accept():
    mycnf = server_options()
    used = (
        _bytes(mycnf["innodb_buffer_pool_size"]) * POOL_OVERHEAD
        + _bytes(mycnf["loose_group_replication_message_cache_size"])
        + MESSAGE_CACHE_STRUCTURES
        + _bytes(mycnf["temptable_max_ram"])
        + int(mycnf["max_connections"]) * CONNECTION
        + PERFORMANCE_SCHEMA
        + SERVER
    )
    [mysql] = cluster()["podSpec"]["containers"]
    assert used <= USED * _bytes(mysql["resources"]["limits"]["memory"])
    # A node must have it all: a member that is killed for want of memory is a failover.
    assert mysql["resources"]["requests"]["memory"] == mysql["resources"]["limits"]["memory"]
    # It may be no smaller, and group_replication_transaction_size_limit is 150 MB by default.
    assert _bytes(mycnf["loose_group_replication_message_cache_size"]) >= max(128 * MIB, 150_000_000)
    [router] = cluster()["router"]["podSpec"]["containers"]
    used = ROUTER + _router_connections() * ROUTER_CONNECTION
    assert used <= USED * _bytes(router["resources"]["limits"]["memory"])


def _pods_and_connections():
    """Of each process: how many pods there are at once, and how many connections each has, at most."""
    variables = _variables(PRODUCTION, "web")
    of_web_process = (
        int(variables["WEB_THREADS"])
        + LOOKUP_POOL._max_threads
        + HASHING_POOL._max_threads
        + ACCOUNTS_POOL._max_threads
        + WELCOME_POOL._max_threads
        + PROBE_POOL._max_threads * SCRAPE
        + len(health.CHECKS)
        + WATCHERS
        + WAITING_ROOMS
        + WORK_IN_PLACE_OF_WORKERS
    )
    worker_command = container_of(of_the_shop(PRODUCTION)["worker"])["command"]
    of_worker = int(worker_command[worker_command.index("--concurrency") + 1]) + WORK_IN_PLACE_OF_WORKERS
    partners = queue_worker.QUEUES_AT_ONCE[queue_worker.BATCH_WITH_PARTNER] * queue_worker.PARTNER_THREADS
    of_issuer = 1 + sum(queue_worker.QUEUES_AT_ONCE.values()) + partners + dispatch.THREADS
    of_beat = 1 + len(settings.CELERY_BEAT_SCHEDULE) + WORK_IN_PLACE_OF_WORKERS
    connections = {
        "web": int(variables["WEB_WORKERS"]) * of_web_process,
        "worker": of_worker + WATCHERS + SCRAPE,
        "issuer": of_issuer + WATCHERS + SCRAPE,
        "beat": of_beat + WATCHERS + SCRAPE,
    }
    return {name: (_pods(name), most) for name, most in connections.items()}


def _pods(name):
    """In an update: all of its pods, the one more, and the old ones that are still ending."""
    workload = of_the_shop(PRODUCTION)[name]
    replicas = workload["spec"].get("replicas") or autoscaler()["maxReplicas"]
    surge = workload["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    ending = math.ceil(pod_of(workload)["terminationGracePeriodSeconds"] / POD_STARTS_SECONDS)
    # There are no more old pods, and no more new ones, than replicas.
    return int(min(replicas + surge + ending, 2 * replicas))


def _router_connections():
    options = cluster()["router"]["bootstrapOptions"]
    [most] = [option.rpartition("=")[2] for option in options if "max_total_connections" in option]
    return int(most)


def _bytes(quantity):
    number, unit = re.findall(r"^(\d+)([A-Z]i?)$", quantity)[0]
    return int(number) * UNITS[unit]
