"""A processor of its own for each web process.

Threads of one interpreter run one at a time. Spread over several processors each hand-over crosses from one
to another, which costs more than half of what a small call takes.
"""

import os
import socket

_claimed_names: list[socket.socket] = []


def pin_to_free_processor(kind: str = "firstcome-web") -> int | None:
    """Keep this process to a processor that no other process of its kind on this machine has; its number.

    None, and free to run anywhere, when each is taken, or where the system has no such thing (it is Linux's).
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    for number in sorted(os.sched_getaffinity(0)):
        if _claim_name(f"\0{kind}-processor-{number}"):
            os.sched_setaffinity(0, {number})
            return number
    return None


def _claim_name(name: str) -> bool:
    """Whether nobody else holds this name: it goes with the process that does, as no file would."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(name)
    except OSError:
        claim.close()
        return False
    _claimed_names.append(claim)
    return True
