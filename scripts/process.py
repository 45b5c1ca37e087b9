"""One process of an instance, as supervisor starts it: `python -m scripts.process NAME`.

It writes its id, ends what an earlier NAME left, and becomes the program: the id is the program's own.
"""

import ctypes
import os
import resource
import signal
import sys

from scripts import instance as instances
from scripts import places, process_identity, processes

_PR_SET_PDEATHSIG = 1
OPEN_FILES = 65_536


def main() -> None:
    name = sys.argv[1]
    instance = instances.remembered(places.state())
    if instance is None:
        sys.exit("no instance was started here: use `make run`")
    # A killed web server leaves workers that go on listening beside the new one's.
    process_identity.kill(process_identity.group_of(instance.run, name) - {os.getpid()})
    process_identity.write(instance.run, name)
    _die_with_supervisor()
    _allow_many_connections()
    command = processes.command(name, instance, os.environ)
    os.execv(command[0], command)


def _die_with_supervisor() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _allow_many_connections() -> None:
    """Each connection is an open file, and the usual limit of 1024 is fewer than the clients of a sale."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


if __name__ == "__main__":
    main()
