"""`make manage ARGS="…"`: a management command in the environment of the running (or last) instance."""

import argparse
import os
import sys

from scripts import options
from scripts.stack import SetupError, children, environment, instance as instances, places, ports


def main() -> int:
    """Become `manage.py`, so that its output and exit code are this command's own. Raises SetupError."""
    parser = options.parser("make manage", **instances.OPTIONS)
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="command")
    asked = parser.parse_args()
    home = places.state()
    port = asked.port
    database = asked.db
    last = instances.remembered(home)
    if last:
        port = port or str(last.port)
        database = database or last.database
    instance = instances.choose(home=home, port=port, database=database)
    composed = environment.compose(instance, environment.given())
    # Where the instance's own database is not there, this says so, and Django shows no traceback.
    if composed["DATABASE_URL"] == environment.database_url(instance):
        if instance.database == "mariadb" and not ports.answers(instance.mariadb_socket):
            raise SetupError("the private MariaDB is not running: start it with `make run DB=mariadb`")
        if instance.database == "sqlite" and not (instance.data / "firstcome.sqlite3").exists():
            raise SetupError(f"there is no database in {instance.data}: start the shop once with `make run`")
    os.chdir(places.PROJECT)
    os.execve(sys.executable, [sys.executable, "manage.py", *asked.words], composed)


if __name__ == "__main__":
    children.end_with(main)
