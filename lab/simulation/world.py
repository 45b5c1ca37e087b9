"""The scheduler of a simulated run: one task at a time, chosen by the seed, and a trace of them."""

import hashlib
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from lab.simulation.chance import chance
from lab.simulation.faults import Crash

SHORT_SECONDS, LONG_SECONDS = (0.001, 0.05), (5.0, 900.0)
SHARE_OF_LONG = 0.004
"""How long a step takes, and how often the time jumps ahead: leases lapse, orders expire."""
STEPS_SHOWN = 60


@dataclass
class Process:
    """A simulated process. Its tasks are dropped when it is killed, and `start` starts it again."""

    name: str
    start: Callable[["Process"], None] = lambda process: None
    incarnation: int = 0


@dataclass(frozen=True)
class Task:
    """A piece of work that runs without interruption, as long as its process lives."""

    process: Process
    incarnation: int
    name: str
    run: Callable[[], None]


class World:
    """Tasks that can run, tasks that are due later, and the trace of what has run."""

    def __init__(self) -> None:
        self._runnable: list[Task] = []
        self._later: list[tuple[float, int, Task]] = []
        self._numbers = count()
        self.trace = hashlib.sha256()
        """The same for two runs that did the same."""
        self.last: deque[str] = deque(maxlen=STEPS_SHOWN)
        self.steps = 0

    def note(self, text: str) -> None:
        line = f"{self.steps:5} {chance.seconds:.3f} {text}"
        self.trace.update(line.encode() + b"\n")
        self.last.append(line)

    def submit(self, process: Process, name: str, run: Callable[[], None], *, after: float = 0.0) -> None:
        """Have it run by this process, once so much time has passed."""
        task = Task(process, process.incarnation, name, run)
        if after > 0:
            heapq.heappush(self._later, (chance.seconds + after, next(self._numbers), task))
        else:
            self._runnable.append(task)

    def step(self) -> None:
        """Run one task, the next that is due if none can run now."""
        self._release_due()
        if not self._runnable:
            chance.seconds = max(chance.seconds, self._later[0][0])
            self._release_due()
        task = self._runnable.pop(chance.randrange(len(self._runnable)))
        if task.process.incarnation == task.incarnation:
            self.steps += 1
            self.note(f"{task.process.name} {task.name}")
            try:
                task.run()
            except Crash:
                self.kill(task.process)
        is_long = chance.random() < SHARE_OF_LONG
        chance.pass_time(chance.uniform(*(LONG_SECONDS if is_long else SHORT_SECONDS)))

    def kill(self, process: Process) -> None:
        """Drop what the process was to do, and start it again."""
        self.note(f"{process.name} is killed")
        process.incarnation += 1
        process.start(process)

    def _release_due(self) -> None:
        while self._later and self._later[0][0] <= chance.seconds:
            self._runnable.append(heapq.heappop(self._later)[2])
