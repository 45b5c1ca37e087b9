"""`make run`: the whole shop on this machine, from an empty folder to a curl line that works.

Told to stop (Ctrl-C, SIGTERM, SIGHUP) it ends with exit code 0 once it was ready, and with 130 before that.
When something is wrong it ends with 1 and one line.
"""

import argparse
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

from scripts.stack import (
    SetupError,
    children,
    places,
    ports,
    preparation,
    process_identity,
    processes,
    readiness,
    state_lock,
    supervision,
    welcome,
)
from scripts.stack import environment as environments
from scripts.stack import instance as instances
from scripts.stack.instance import Instance

MEGABYTES_NEEDED = {"sqlite": 64, "mariadb": 400}


def main() -> int:
    arguments = _arguments()
    children.hear_stop_signals()
    try:
        instance = instances.choose(home=places.state(), port=arguments.port, database=arguments.db)
        return run(instance)
    except KeyboardInterrupt:
        return 130
    except SetupError as error:
        print(f"firstcome: {error}", file=sys.stderr)
    except OSError as error:
        print(f"firstcome: {_explain(error)}", file=sys.stderr)
    return 1


def run(instance: Instance) -> int:
    """Start everything and stay until told to stop. Raises SetupError, or KeyboardInterrupt if told early."""
    environment = environments.compose(instance, environments.given())
    _require_mysql_driver(environment)
    _make_folders(instance)
    with state_lock.held(instance):
        if supervision.clear_leftovers(instance):
            _say("Cleared what an earlier run left behind.")
        _require_space(instance)
        for port in instance.ports:
            ports.require_free(port)
        instances.remember(instance)
        try:
            return _serve(instance, environment)
        finally:
            _begin_to_stop(instance)
            supervision.clear_leftovers(instance)


def _serve(instance: Instance, environment: dict[str, str]) -> int:
    stores = environments.own_stores(instance, environment)
    for name in stores:
        processes.command(name, instance, environment)  # its program is there, or this says what to install
    if "mariadb" in stores:
        instance.mariadb().prepare()
    is_ready = False
    while True:
        metrics = _empty_metrics(instance)
        with supervision.supervisor(instance, environment | metrics, stores) as daemon:
            try:
                _bring_up(instance, environment, daemon, stores)
                greeting = "" if is_ready else welcome.text(instance, environment)
                # These can wait; on two cores their start would delay the others'.
                supervision.start(instance, ["beat", "issuer"])
                if not is_ready:
                    _say(greeting)
                is_ready = True
                daemon.wait()
            except KeyboardInterrupt:
                _begin_to_stop(instance)
                if not is_ready:
                    raise
                _say("\nStopping …")
                return 0
        _say("supervisor died; starting everything again")
        supervision.clear_leftovers(instance)


def _bring_up(
    instance: Instance,
    environment: Mapping[str, str],
    daemon: subprocess.Popen[bytes],
    stores: list[str],
) -> None:
    supervision.wait_until_it_answers(instance, daemon)
    readiness.wait_for_stores(instance, stores)
    if not preparation.is_current(instance, environment):
        _prepare(instance, environment)
    supervision.start(instance, ["web", "worker"])
    readiness.wait_for_shop(instance)


def _prepare(instance: Instance, environment: Mapping[str, str]) -> None:
    preparation.forget(instance)
    command = [sys.executable, "-m", "scripts.stack.preparation"]
    # Marked, so that a run after a kill -9 of this one finds it and never migrates beside it.
    marked = {**environment, process_identity.MARK: str(instance.home)}
    if subprocess.run(command, cwd=places.PROJECT, env=marked, stdin=subprocess.DEVNULL).returncode != 0:
        raise SystemExit(1)  # it said why
    preparation.remember(instance)


def _say(text: str) -> None:
    """Tell whoever reads; that nobody does any more (`make run | head`) is no reason to stop."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make run", description="Run the whole shop on this machine.")
    parser.add_argument("--port", default="", help="of the web server; the next three are taken as well")
    parser.add_argument("--db", default="", help="sqlite or mariadb")
    return parser.parse_args()


def _make_folders(instance: Instance) -> None:
    places.private_folder(instance.home)
    for folder in (instance.run, instance.logs, instance.data, instance.static):
        folder.mkdir(exist_ok=True)


def _empty_metrics(instance: Instance) -> dict[str, str]:
    """Where processes share their metrics, without those of processes that are gone, which would be added."""
    shutil.rmtree(instance.metrics, ignore_errors=True)
    instance.metrics.mkdir()
    return {"PROMETHEUS_MULTIPROC_DIR": str(instance.metrics)}


def _require_space(instance: Instance) -> None:
    free = shutil.disk_usage(instance.home).free >> 20
    needed = MEGABYTES_NEEDED[instance.database]
    if free < needed:
        raise SetupError(f"no space left in {instance.home}: {free} MB are free, {needed} MB are needed")


def _require_mysql_driver(environment: Mapping[str, str]) -> None:
    if not environment["DATABASE_URL"].startswith("mysql"):
        return
    try:
        import MySQLdb  # noqa: F401
    except ImportError:
        raise SetupError(
            "DATABASE_URL is MySQL's, whose driver is not installed: use `make run DB=mariadb`"
        ) from None


def _begin_to_stop(instance: Instance) -> None:
    children.ignore_stop_signals()
    state_lock.announce_stop(instance)


def _explain(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"no space left on the disk of {error.filename or places.state()}"
    return f"{error.filename or places.state()}: {error.strerror or error}"


if __name__ == "__main__":
    sys.exit(main())
