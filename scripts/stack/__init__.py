"""One stack of the shop on this machine: what starts, supervises, finds and ends its processes."""


class SetupError(Exception):
    """Ends the command with exit code 1; its text is the line that is printed, and no traceback: what is
    wrong, with what, and what to do."""
