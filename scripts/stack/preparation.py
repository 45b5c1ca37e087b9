"""The database and static files of an instance, brought up to date; an empty database gets a demo."""

import os
import subprocess
import sys
import traceback
from pathlib import Path

from scripts.stack import Environment, children, environment, instance as instances, places
from scripts.stack.instance import Instance


def prepare_apart(home: Path, settings: Environment) -> None:
    """Migrate, collect static files, and seed an empty database, in a process that says why it fails."""
    command = [sys.executable, "-m", "scripts.stack.preparation"]
    # Marked, so that a run after a kill -9 of this one finds it and never migrates beside it.
    marked = {**settings, children.MARK: str(home)}
    if subprocess.run(command, cwd=places.PROJECT, env=marked, stdin=subprocess.DEVNULL).returncode != 0:
        raise SystemExit(1)


def main() -> None:
    instance = instances.remembered(places.state())
    assert instance is not None, "make run remembers the instance before it prepares it"
    try:
        _prepare(instance)
    except (Exception, KeyboardInterrupt) as error:
        log = instance.logs / "prepare.log"
        log.write_text(traceback.format_exc())
        reason = " ".join(str(error).split()) or type(error).__name__
        sys.exit(f"firstcome: the shop can't be prepared: {reason} (more in {log})")


def _prepare(instance: Instance) -> None:
    import django
    from django.core.management import call_command

    django.setup()
    from django.conf import settings
    from django.contrib.auth import get_user_model

    from shop.management.commands.migrate import OldDatabase

    try:
        call_command("migrate", interactive=False, verbosity=0)
    except OldDatabase:
        if os.environ["DATABASE_URL"] != environment.database_url(instance):
            raise
        what = f"firstcome: {instance.data} was made by release 1.x, whose data this release doesn't read"
        sys.exit(f"{what}: remove that folder, or use another one by `make run VAR=FOLDER`")
    call_command("collectstatic", interactive=False, verbosity=0)
    # A demo's database without accounts is seeded, and one whose seeding was cut short.
    unfinished = instance.data / "seeding"
    is_seeded = get_user_model().objects.exists() and not unfinished.exists()
    if (settings.DEMO or settings.DEBUG) and not is_seeded:
        print("Seeding an empty database with a demo …", flush=True)
        unfinished.touch()
        call_command("seed_demo")
        unfinished.unlink()


if __name__ == "__main__":
    main()
