"""The scheduler of a simulated run: one task at a time, chosen by the seed, and a trace of them."""

import hashlib
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from lab.simulation.determinism import chance

SHORT_SECONDS, LONG_SECONDS = (0.001, 0.05), (5.0, 900.0)
SHARE_OF_LONG = 0.004
"""How long a step takes, and how often the time jumps ahead: leases lapse, orders expire."""
STEPS_SHOWN = 60


class Crash(BaseException):
    """The present process is killed: no code handles it, and its transaction is rolled back."""


@dataclass
class Process:
    """A simulated process. Its tasks are dropped when it is killed."""

    name: str
    incarnation: int = 0
    restart: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True)
class Task:
    """A piece of work that runs without interruption, as long as its process lives."""

    process: Process
    incarnation: int
    name: str
    run: Callable[[], None]

    @property
    def is_alive(self) -> bool:
        return self.process.incarnation == self.incarnation


class World:
    """Tasks that can run, tasks that are due later, and the trace of what has run."""

    def __init__(self) -> None:
        self._runnable: list[Task] = []
        self._later: list[tuple[float, int, Task]] = []
        self._numbers = count()
        self._trace = hashlib.sha256()
        self.last: deque[str] = deque(maxlen=STEPS_SHOWN)
        self.steps = 0

    @property
    def digest(self) -> str:
        """The same for two runs that did the same."""
        return self._trace.hexdigest()

    def note(self, text: str) -> None:
        line = f"{self.steps:5} {chance.seconds:.3f} {text}"
        self._trace.update(line.encode() + b"\n")
        self.last.append(line)

    def submit(self, process: Process, name: str, run: Callable[[], None], *, after: float = 0.0) -> None:
        """Have it run by this process, once so much time has passed."""
        task = Task(process, process.incarnation, name, run)
        if after > 0:
            heapq.heappush(self._later, (chance.seconds + after, next(self._numbers), task))
        else:
            self._runnable.append(task)

    def step(self) -> bool:
        """Run one task; False if there is none, now or later."""
        self._release_due()
        if not self._runnable:
            if not self._later:
                return False
            chance.seconds = max(chance.seconds, self._later[0][0])
            self._release_due()
        task = self._runnable.pop(chance.random.randrange(len(self._runnable)))
        if task.is_alive:
            self._run(task)
        long = chance.random.random() < SHARE_OF_LONG
        chance.pass_time(chance.random.uniform(*(LONG_SECONDS if long else SHORT_SECONDS)))
        return True

    def kill(self, process: Process) -> None:
        """Drop what the process was to do, and start it again."""
        self.note(f"{process.name} is killed")
        process.incarnation += 1
        process.restart()

    def _run(self, task: Task) -> None:
        self.steps += 1
        self.note(f"{task.process.name} {task.name}")
        try:
            task.run()
        except Crash:
            self.kill(task.process)

    def _release_due(self) -> None:
        while self._later and self._later[0][0] <= chance.seconds:
            self._runnable.append(heapq.heappop(self._later)[2])
