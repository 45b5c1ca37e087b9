"""One process of an instance, as supervisor starts it: `python -m scripts.process NAME`.

It writes its id, ends what an earlier NAME left, and becomes the program: the id is the program's own.
"""

import os
import resource
import sys

from scripts import children, places, process_identity, processes
from scripts import instance as instances

OPEN_FILES = 65_536


def main() -> None:
    name = sys.argv[1]
    instance = instances.remembered(places.state())
    if instance is None:
        sys.exit("no instance was started here: use `make run`")
    # A killed web server leaves workers that go on listening beside the new one's.
    process_identity.kill(process_identity.group_of(instance.run, name) - {os.getpid()})
    process_identity.write(instance.run, name)
    children.end_with_parent()
    _allow_many_connections()
    command = processes.command(name, instance, os.environ)
    os.execv(command[0], command)


def _allow_many_connections() -> None:
    """Each connection is an open file, and the usual limit of 1024 is fewer than the clients of a sale."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


if __name__ == "__main__":
    main()
