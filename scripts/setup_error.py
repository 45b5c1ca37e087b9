"""The one line that ends a command of this folder: what is wrong, with what, and what to do."""


class SetupError(Exception):
    """Ends the command with exit code 1; its text is the line that is printed, and no traceback."""
