"""One stack of the shop on this machine: what starts, supervises, finds and ends its processes.

`run`, the tests, the smoke, the bench, the lab and the chaos trials stand on it; it knows none of them.
`programs` has what is not the shop's own, such as Prometheus and Chromium; the modules here import nothing
of it.
"""


class SetupError(Exception):
    """Ends the command with exit code 1; its text is the line that is printed, and no traceback: what is
    wrong, with what, and what to do."""
