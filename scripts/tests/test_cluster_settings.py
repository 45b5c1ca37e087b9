"""The cluster's ports, passwords and templates: each server's settings are whole."""

import configparser
from pathlib import Path

import pytest
import yaml
from supervisor.options import ServerOptions

from scripts.cluster import environment, layout, processes, supervision, templates
from scripts.cluster.layout import Cluster
from scripts.cluster.servers import mysql, redis
from scripts.stack import ports
from shop.tests.case_tables import in_one_test

TEMPLATES = {
    "member.cnf": {"port": 1, "group_port": 2},
    "member.sql": {},
    "router.conf": {"port": 1},
    "redis.conf": {"port": 1, "folder": "/folder"},
    "sentinel.conf": {"port": 1, "primary_port": 2, "folder": "/folder"},
    "rabbitmq.conf": {"port": 1, "management_port": 2, "metrics_port": 3},
    "rabbitmq_plugins": {},
    "haproxy-front.cfg": {},
    "haproxy-database.cfg": {},
    "prometheus.yml": {},
    "unavailable.http": {},
}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(home=tmp_path / "cluster", first_port=21000)


def test_every_template_is_known_to_these_tests():
    assert {path.name for path in templates.FOLDER.iterdir()} == TEMPLATES.keys()


@in_one_test("name", TEMPLATES)
def test_every_template_is_filled_in_whole(cluster: Cluster, name: str):
    text = templates.render(name, cluster, number=2, **TEMPLATES[name])
    assert "$" not in text
    assert "0.0.0.0" not in text


def test_all_ports_are_different_and_below_those_of_outgoing_connections():
    highest = layout.choose(str(layout.FIRST_PORT_OF_CONNECTIONS - layout.PORTS))
    found = []
    for kind in layout.OFFSETS:
        owner = kind if kind in layout.SIZES else kind.partition("-")[0]
        count = layout.SIZES.get(owner, 1) if kind != "redis-exporter" else 1
        found += [highest.port(kind, number) for number in range(1, count + 1)]
    assert len(found) == len(set(found))
    assert max(found) < layout.FIRST_PORT_OF_CONNECTIONS
    assert max(found) < highest.first_port + layout.PORTS


def test_the_shops_account_has_no_right_that_works_on_a_member_that_is_read_only(cluster: Cluster):
    script = mysql.one_statement_a_line(templates.render("member.sql", cluster))
    granted = [line for line in script.splitlines() if "TO 'firstcome'" in line]
    assert granted
    assert not any("*.*" in line.replace("performance_schema.*", "") for line in granted)


def test_prometheus_scrapes_every_process_that_has_metrics(cluster: Cluster):
    settings = yaml.safe_load(templates.render("prometheus.yml", cluster))
    targets = {
        job["job_name"]: [target for one in job["static_configs"] for target in one["targets"]]
        for job in settings["scrape_configs"]
    }
    for kind in ("web", "worker", "issuer", "beat"):
        assert targets[kind] == cluster.addresses(kind)
    assert targets["mysql"] == cluster.addresses("mysql-exporter")
    assert targets["rabbitmq"] == cluster.addresses("rabbitmq-metrics", like="rabbitmq")
    assert targets["redis"] == [f"redis://{address}" for address in cluster.addresses("redis")]


def test_the_primary_of_redis_stays_the_one_that_it_was_when_the_cluster_starts_again(cluster: Cluster):
    redis.prepare(cluster)
    assert redis.last_primary(cluster) == 1
    for number, epoch, port in ((1, 3, 1), (2, 5, 3), (3, 4, 2)):
        settings = redis.settings_of(cluster, "sentinel", number)
        monitored = f"sentinel monitor primary {ports.HOST} {cluster.port('redis', port)} 2"
        settings.write_text(f"{monitored}\nsentinel config-epoch primary {epoch}\n")
    assert redis.last_primary(cluster) == 3
    redis.prepare(cluster)
    written = {number: redis.settings_of(cluster, "redis", number).read_text() for number in (1, 2, 3)}
    assert "\nreplicaof" not in written[3]
    assert all(f"replicaof {ports.HOST} {cluster.port('redis', 3)}\n" in written[number] for number in (1, 2))


def test_the_environment_leads_to_the_cluster_whatever_the_user_has_set(cluster: Cluster):
    own = {"DATABASE_URL": "sqlite:///elsewhere", "PAYMENT_GIVE_UP_SECONDS": "90"}
    composed = environment.compose(cluster, own)
    assert composed["DATABASE_URL"].endswith(f"@{ports.HOST}:{cluster.port('database')}/firstcome")
    assert composed["PAYMENT_GIVE_UP_SECONDS"] == "90"
    assert int(environment.defaults()["PAYMENT_GIVE_UP_SECONDS"]) >= 60


@in_one_test("kind", ["web", "worker", "issuer", "beat"])
def test_each_process_of_a_kind_begins_with_another_node_of_the_broker_and_knows_all(
    cluster: Cluster, kind: str
):
    composed = environment.compose(cluster, {})
    names = layout.names(kind)
    urls = [environment.for_process(name, cluster, composed)["BROKER_URL"].split(";") for name in names]
    assert len({url[0] for url in urls}) == len(names) > 1
    assert all(set(url) == set(urls[0]) for url in urls)


def test_every_process_has_a_command_and_supervisor_starts_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("scripts.cluster.packages.program", lambda name: f"/usr/bin/{name}")
    names = [name for group in supervision.GROUPS.values() for name in group]
    assert "mysql-3" in names
    composed = environment.compose(cluster, {})
    assert all(processes.command(name, cluster, composed) for name in names)
    for folder in ("log", "run"):
        (cluster.home / folder).mkdir(parents=True)
    path = cluster.home / "supervisor.conf"
    path.write_text(supervision.configuration(cluster))
    monkeypatch.setenv("FIRSTCOME_PYTHON", ".venv/bin/python")
    options = ServerOptions()
    options.realize(["-c", str(path)])
    groups = {
        group.name: [process.name for process in group.process_configs]
        for group in options.process_group_configs
    }
    assert {name: sorted(found) for name, found in groups.items()} == {
        name: sorted(found) for name, found in supervision.GROUPS.items()
    }


def test_a_member_that_ends_by_itself_is_started_again(cluster: Cluster):
    read = configparser.RawConfigParser(strict=True)
    read.read_string(supervision.configuration(cluster).replace("%(ENV", "(ENV"))
    assert read["program:mysql-2"]["autorestart"] == "true"
    assert int(read["program:mysql-2"]["stopwaitsecs"]) >= 60
    assert read["program:mysql-2"]["stdout_logfile"].startswith("%(here)s/log/")


def test_no_node_of_the_broker_heals_a_partition_beside_the_keeper(cluster: Cluster):
    number_ports = {"port": 1, "management_port": 2, "metrics_port": 3}
    settings = templates.render("rabbitmq.conf", cluster, number=1, **number_ports)
    assert "\ncluster_partition_handling = ignore\n" in settings
    assert "rabbitmq-keeper" in supervision.GROUPS["keepers"]
