"""Dumps of the test's database, made and read by the servers' own programs."""

import os
import subprocess

from django.db import connection

from scripts.stack import system_packages


def dump(path):
    """Dump the database into the file as docs/howto/restore-a-backup.md says."""
    with path.open("wb") as file:
        options = ["--single-transaction", "--quick", "--hex-blob", "--no-tablespaces"]
        _run("mariadb-dump", *options, stdout=file)


def load(path):
    """Read the file into a new database of the same name."""
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    connection.close()
    with path.open("rb") as file:
        _run("mariadb", "--binary-mode", "--default-character-set=utf8mb4", stdin=file)


def options_of_server() -> list[str]:
    """The options by which the programs reach the test's server; the password is in MYSQL_PWD."""
    settings = connection.settings_dict
    socket = settings["OPTIONS"].get("unix_socket")
    where = [f"--socket={socket}"] if socket else [f"--host={settings['HOST']}", f"--port={settings['PORT']}"]
    return ["--no-defaults", *where, f"--user={settings['USER']}"]


def _run(program, *options, **pipes):
    command = [system_packages.program(program), *options_of_server(), *options]
    own = os.environ | {"MYSQL_PWD": connection.settings_dict["PASSWORD"]}
    subprocess.run([*command, connection.settings_dict["NAME"]], env=own, check=True, **pipes)  # type: ignore[call-overload]
