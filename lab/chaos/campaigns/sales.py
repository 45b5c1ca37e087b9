"""The campaign `sales`: all that admits entries of a sale is killed, and so are the stores.

Planted, each process counts the admissions in its memory: together they, and each that starts again, exceed
the rate. The audit of L14 has to find that.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from lab.chaos.campaigns import patches
from lab.chaos.campaigns.beside import Beside, Run
from lab.chaos.memory import Setup
from lab.chaos.shop import Shop
from scripts.stack import own_stack
from scripts.stack.instance import Instance

PLANTED = "admissions-in-memory"
LAW = "L14"


@contextmanager
def beside(instance: Instance, run: Run) -> Iterator[Beside]:
    """The patch of the planted defect, and how it is found."""

    def finds_planted(setup: Setup, shop: Shop) -> bool:
        return any(law["law"] == LAW and not law["holds"] for law in own_stack.audit(instance))

    settings = patches.settings(PLANTED) if run.is_planted else {}
    yield Beside(settings=settings, finds_planted=finds_planted)
