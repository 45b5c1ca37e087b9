"""The user of the shell that a command runs in, as an actor in the journal."""

import getpass

from foundation.journal import Actor, ActorContext


def user_name() -> str:
    """The login name of the shell's user; empty if the system has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def operator() -> ActorContext:
    return ActorContext(actor=Actor.STAFF, name=user_name()[:150])
