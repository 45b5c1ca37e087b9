"""A server that is cut off and comes back; run as a process, because it enters a network of its own."""

import os
import socket
import subprocess
import sys

from scripts.cluster import overrides
from scripts.cluster.drill import partition
from scripts.stack import ports

PORT = 9000
SERVER = f"""
import socket
from scripts.cluster import overrides
overrides.join_group("server")
listening = socket.create_server(("{ports.HOST}", {PORT}))
print("listening", flush=True)
while True:
    connection, _ = listening.accept()
    connection.sendall(b"answered")
    connection.close()
"""


def ask() -> str:
    """What the server says, or that nothing comes."""
    try:
        with socket.create_connection((ports.HOST, PORT), timeout=1) as connection:
            return connection.recv(20).decode()
    except TimeoutError:
        return "silent"


def main() -> None:
    partition.enter_namespace()
    with partition.control_groups() as groups:
        environment = os.environ | {overrides.GROUPS: str(groups)}
        command = [sys.executable, "-c", SERVER]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as server:
            assert server.stdout
            server.stdout.readline()
            print(ask())
            with partition.cut_off(groups, ["server"]):
                print(ask())
            print(ask())
            server.kill()
    print("removed" if not groups.exists() else "left behind")


if __name__ == "__main__":
    main()
