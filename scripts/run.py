"""`make run`: the whole shop on this machine, from an empty folder to a curl line that works."""

import contextlib
import shutil

from scripts import options
from scripts.stack import (
    Settings,
    SetupError,
    children,
    environment as environments,
    instance as instances,
    places,
    ports,
    preparation,
    processes,
    supervision,
    welcome,
)
from scripts.stack.instance import Instance


def main() -> int:
    """Start everything and stay until it is stopped. Raises SetupError, or KeyboardInterrupt before that."""
    asked = options.read("make run", **instances.OPTIONS)
    instance = instances.choose(home=places.state(), port=asked.port, database=asked.db)
    environment = environments.compose(instance, environments.given())
    places.private_folder(instance.home)
    for folder in (instance.run, instance.logs, instance.data, instance.static):
        folder.mkdir(exist_ok=True)
    with instances.held(instance):
        supervision.clear_leftovers(instance)
        for port in instance.ports:
            ports.require_free(port)
        instances.remember(instance)
        try:
            return _serve(instance, environment)
        finally:
            supervision.clear_leftovers(instance)


def _serve(instance: Instance, environment: Settings) -> int:
    stores = environments.own_stores(instance, environment)
    for name in stores:
        processes.command(name, instance, environment)  # its program is there, or this says what to install
    if "mariadb" in stores:
        instance.mariadb().prepare()
    # Shared by web processes, without the metrics of those that are gone, which would be added.
    shutil.rmtree(instance.metrics, ignore_errors=True)
    instance.metrics.mkdir()
    with supervision.supervisor(instance, environment, stores) as daemon:
        supervision.wait_for_stores(instance, stores)
        preparation.prepare_apart(instance.home, environment)
        supervision.start(instance, ["web", "worker"])
        supervision.wait_for_shop(instance)
        greeting = welcome.text(instance, environment)
        # These can wait; on two cores their start would delay the others'.
        supervision.start(instance, ["beat", "issuer"])
        children.say(greeting)
        with contextlib.suppress(KeyboardInterrupt):
            daemon.wait()
            raise SetupError(f"supervisor ended; see {instance.logs / 'supervisor.log'}")
        children.say("\nStopping …")
    return 0


if __name__ == "__main__":
    children.end_with(main)
