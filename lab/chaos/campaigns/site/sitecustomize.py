"""What Python imports first in the processes of a campaign's stack, whose PYTHONPATH names this folder."""

from lab.chaos.campaigns import patches

patches.install()
