"""The database and static files of an instance, brought up to date; an empty database gets a demo.

`make run` calls it once before the web server starts. What it says when it fails is one line.
"""

import sys
import traceback
from pathlib import Path

import django
from django.core.management import call_command

from scripts import instance as instances
from scripts import places


def main() -> int:
    home = places.state()
    instance = instances.remembered(home)
    assert instance is not None, "make run remembers the instance before it prepares it"
    log = instance.logs / "prepare.log"
    try:
        django.setup()
        call_command("migrate", interactive=False, verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        _seed_when_empty(instance.data / "seeding")
    except Exception as error:
        log.write_text(traceback.format_exc())
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"firstcome: the shop can't be prepared: {reason} (more in {log})", file=sys.stderr)
        return 1
    return 0


def _seed_when_empty(unfinished: Path) -> None:
    """Seed a database without accounts, and one whose seeding was cut short."""
    from django.contrib.auth import get_user_model  # importable once Django is set up

    if not unfinished.exists() and get_user_model().objects.exists():
        return
    print("Seeding an empty database with a demo …", flush=True)
    unfinished.touch()
    call_command("seed_demo")
    unfinished.unlink()


if __name__ == "__main__":
    sys.exit(main())
