"""Pins each web process to a processor of its own: its threads run one at a time, and crossing costs much."""

import os
import socket

_claims: list[socket.socket] = []


def pin_to_free_processor(kind: str = "firstcome-web") -> int | None:
    """Pin this process to a processor that no other process of its kind here uses; return its number.

    Returns None, without pinning, if every processor is taken, or if the system is not Linux.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    for number in sorted(os.sched_getaffinity(0)):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            # An abstract name, which the system frees when the process ends.
            claim.bind(f"\0{kind}-processor-{number}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        os.sched_setaffinity(0, {number})
        return number
    return None
