"""What holds once everything is up: health, what containers may do, the doctor, the README's session."""

import json
import re

from lab.containers.project import BUILD_SECONDS, HEALTHY, Project
from lab.containers.report import require
from scripts import smoke
from scripts.stack import children, readiness, waiting

SESSION_SECONDS, SCRAPED_SECONDS, TASK_SECONDS = 180, 60, 30
LOCKED_DOWN = """
set -e
grep -q '^CapBnd:.0*$' /proc/1/status || { echo it has capabilities; exit 1; }
grep -q '^CapEff:.0*$' /proc/1/status || { echo it has capabilities; exit 1; }
grep -q '^NoNewPrivs:.1' /proc/1/status || { echo it may get new privileges; exit 1; }
[ "$(id -u)" = 10001 ] || { echo "it runs as $(id -u)"; exit 1; }
! touch /app/x 2> /dev/null || { echo its files can be written; exit 1; }
touch /tmp/y && rm /tmp/y
"""
"""Fails unless the container is read-only, has no capability and no way to one, and is not root."""
MANAGE = "make manage ARGS=audit\n"
"""The README's line; docs/operations.md says how it is written for containers."""


def build(project: Project) -> None:
    project.compose("build", within_seconds=BUILD_SECONDS)


def bring_up(project: Project) -> None:
    project.compose("up", "--detach")


def migrate_completed(project: Project) -> None:
    state = project.inspect("migrate", "{{.State.Status}} {{.State.ExitCode}}")
    require(state == "exited 0", f"migrate is {state}")


def all_healthy(project: Project) -> str:
    project.wait_until_healthy()
    return f"{len(HEALTHY)} services"


def is_locked_down(project: Project, service: str) -> None:
    ran = project.engine.run(
        "docker", "exec", f"firstcome-{service}-1", "sh", "-c", LOCKED_DOWN, codes=(0, 1)
    )
    require(ran.returncode == 0, ran.stdout.strip() or ran.stderr.strip())


def doctor_passes(project: Project) -> None:
    """The doctor finds no danger; warnings are ignored."""
    printed = project.manage("doctor", codes=(0, 1))
    dangers = re.findall(r"^danger.*\n.*", printed, flags=re.MULTILINE)
    require("ok       " in printed and not dangers, "\n".join(dangers) or printed[-800:])


def worker_ran_task(project: Project) -> str:
    """An order was advanced by a task, which comes to a worker as a message only."""

    def found() -> list[str]:
        log = project.compose("logs", "--no-color", "worker")
        return re.findall(r"Task orders\.advance\[.*succeeded", log)

    none = "the worker's log has no task orders.advance that succeeded"
    return f"{len(waiting.until(found, none, within_seconds=TASK_SECONDS, pause_seconds=1))} times"


def queue_is_durable(project: Project) -> str:
    command = "exec -T rabbitmq rabbitmqctl -q list_queues name type durable consumers"
    listed = project.compose(*command.split())
    queues = [line.split("\t") for line in listed.splitlines()]
    found = next((queue[1:] for queue in queues if queue[0] == "celery"), None)
    require(found is not None, f"there is no queue named celery: {listed}")
    assert found
    require(found[:2] == ["quorum", "true"] and int(found[2]) > 0, f"type, durable, consumers: {found}")
    return f"{found[0]}, {found[2]} consumer"


def targets_are_up(project: Project) -> str:
    """Prometheus scrapes each of its targets."""

    def down() -> dict[str, str]:
        targets = _targets(project.prometheus_port) or {"any": "there are no targets"}
        return {job: error for job, error in targets.items() if error}

    left = waiting.left(down, within_seconds=SCRAPED_SECONDS, pause_seconds=1)
    require(not left, f"not up after {SCRAPED_SECONDS} s: {left}")
    return f"{len(_targets(project.prometheus_port))} jobs"


def _targets(port: int) -> dict[str, str]:
    """What is wrong with the targets of each job."""
    status, text = readiness.ask(port, "GET", "/api/v1/targets")
    require(status == 200, f"Prometheus answered {status}: {text[:300]}")
    targets = json.loads(text)["data"]["activeTargets"]
    return {
        one["labels"]["job"]: "" if one["health"] == "up" else f"{one['health']} {one['lastError']}"
        for one in targets
    }


def session_works(project: Project) -> str:
    """The README's session, pasted twice: the second time nothing new happens."""
    text = smoke.session(project.instance)
    require(MANAGE in text, f"the README's session has no line {MANAGE!r}")
    # `exec` reads no input: a shell that reads its lines from there would lose them.
    audit = " ".join(f"'{word}'" for word in project.engine.command("docker", "compose", "exec", "-T", "web"))
    lines = text.replace(MANAGE, f"{audit} python manage.py audit < /dev/null\n")
    return smoke.paste_session_twice(
        lambda: children.run(["sh", "-euc", lines], within_seconds=SESSION_SECONDS)
    )
