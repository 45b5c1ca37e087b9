"""Commands in a shell: who runs them, for the journal."""

import getpass

from shop.journal import Actor, Who


def user_name() -> str:
    """The name that the shell's user is signed in by; empty where the system knows none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def operator() -> Who:
    """The shell's user as the one who acts."""
    return Who(actor=Actor.STAFF, name=user_name()[:150])
