"""The faults of a drill as data: what is hit, when, for how long; and what has to hold then."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count as numbers

from lab.chaos.calls import NO_ANSWER
from scripts.stack import SetupError

COMPONENTS = (
    *("mysql-primary", "mysql-secondary", "router", "mysql-keeper", "redis-primary", "sentinel", "rabbitmq"),
    *("rabbitmq-keeper", "haproxy-database", "haproxy-front", "web", "worker", "issuer", "beat"),
)
"""What a fault happens to. Of several equal processes the seed draws one; of RabbitMQ it is the queue's
leader, of beat the one that acts."""
ACTIONS = ("kill", "freeze", "partition")
MANEUVERS = ("switchover", "members-restarted", "shop-upgraded", "members-killed", "member-cloned")
"""What an operator does, or what happens to several processes at once."""
NAMES = [*(f"{action} {component}" for component in COMPONENTS for action in ACTIONS), *MANEUVERS]
QUICK = [
    *("kill mysql-primary", "freeze mysql-primary", "partition mysql-primary", "kill redis-primary"),
    *("freeze rabbitmq", "kill router", "kill haproxy-front", "kill web", "kill issuer", "kill beat"),
    *("switchover", "members-killed"),
]
"""What `QUICK=1` has time for; of the database its primary, and what leads to it."""
LEAD_SECONDS, LASTS_SECONDS = (2.0, 4.0), (10.0, 14.0)
"""How long the load runs before a fault, and how long a freeze or partition lasts: until it was noticed."""
REFUSED = "no connection"
NOTICE_SECONDS = 5.0
"""What a silence takes to be noticed on top of an end, by the time-outs of the database's members."""


@dataclass(frozen=True)
class Fault:
    """What happens, to what, after how much load, and for how long. `choice` picks one of equal processes."""

    action: str
    component: str
    lead_seconds: float
    seconds: float
    choice: float

    @property
    def name(self) -> str:
        return f"{self.action} {self.component}".strip()

    @property
    def most_outage_seconds(self) -> float:
        """How long no write may be acknowledged."""
        if self.action in ("switchover", "shop-upgraded"):
            return 3.0
        # Of each HAProxy there is one here, so nothing takes its place.
        if self.seconds and self.component.startswith("haproxy"):
            return self.seconds + 3.0
        return 10.0 + (NOTICE_SECONDS if self.seconds else 0.0)

    def failures(
        self, statuses: Mapping[str, int], *, outage_seconds: float, acknowledged: int
    ) -> Iterator[str]:
        """What of that did not hold, and answers that no client of a cluster may get; `acknowledged` are the
        effects that were compared."""
        if outage_seconds > (most := self.most_outage_seconds):
            yield f"writes were acknowledged again after {outage_seconds:.1f} s, not within {most:.1f} s"
        for word, count in statuses.items():
            # Done, refused with a reason, or asked to come again; and behind the one proxy of this cluster.
            is_allowed = word in (NO_ANSWER, "503") or word[0] in "24"
            if not is_allowed and (word, self.component) != (REFUSED, "haproxy-front"):
                yield f"{count} x {word}"
        if acknowledged == 0:
            yield "no write was acknowledged, so none was checked"


def chosen(text: str) -> list[str]:
    """The faults that `ONLY=` names: a fault, all of an action or of a component. Raises SetupError."""
    words = {*filter(None, map(str.strip, text.split(",")))}
    if unknown := words - {*NAMES, *ACTIONS, *COMPONENTS}:
        known = ", ".join([*ACTIONS, *COMPONENTS, *MANEUVERS])
        raise SetupError(
            f"ONLY={','.join(unknown)} names no fault: there are {known}, and pairs like 'kill web'"
        )
    return [name for name in NAMES if words & {name, *name.split(" ")}]


def drawn(seed: str, names: Sequence[str], *, is_repeated: bool) -> Iterator[Fault]:
    """These faults in the order of the seed; when repeated, again and again in another one."""
    for number in numbers(1) if is_repeated else (1,):
        for name in random.Random(f"{seed} order {number}").sample(names, len(names)):
            yield draw(name, seed=f"{seed} {number}")


def draw(name: str, *, seed: str) -> Fault:
    """The fault of that name. Its moments depend on nothing but seed and name, so one alone repeats them."""
    chance, (action, _, component) = random.Random(f"{seed} {name}"), name.partition(" ")
    lead, lasts, choice = chance.uniform(*LEAD_SECONDS), chance.uniform(*LASTS_SECONDS), chance.random()
    return Fault(action, component, lead, lasts if action in ("freeze", "partition") else 0.0, choice)
