"""What Python imports first in the processes of a stack whose PYTHONPATH names this folder."""

from lab.bench import sampling

sampling.start()
