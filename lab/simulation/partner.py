"""The model of a partner that confirms coupons: it keeps a book by key, and its answers get lost."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from coupons.partners.contract import NoAnswer, NotReached, PartnerReply
from lab.simulation.determinism import chance

NOT_REACHED, LOST_REQUEST, LOST_REPLY, REFUSED = 0.05, 0.08, 0.14, 0.05
"""How often a call does not reach it, is lost on its way there, or back, and how often it refuses a code."""
SLOW_SECONDS = 2.9


@dataclass
class Book:
    """Each key's final state, and the code that is registered under it."""

    replies: dict[UUID, PartnerReply] = field(default_factory=dict)
    codes: dict[UUID, str] = field(default_factory=dict)
    is_faulty: bool = True
    wait: Callable[[], None] = lambda: None
    """Lets other processes run while a caller waits for the answer."""

    def register(self, key: UUID, code: str) -> PartnerReply:
        def registered() -> PartnerReply:
            if key not in self.replies:
                is_refused = self.is_faulty and chance.random.random() < REFUSED
                self.replies[key] = PartnerReply.REFUSED if is_refused else PartnerReply.REGISTERED
                self.codes[key] = code
            return self.replies[key]

        return self._called(registered)

    def find(self, key: UUID) -> PartnerReply:
        return self._called(lambda: self.replies.get(key, PartnerReply.UNKNOWN))

    def cancel(self, key: UUID) -> PartnerReply:
        def cancelled() -> PartnerReply:
            if self.replies.get(key) is not PartnerReply.REFUSED:
                self.replies[key] = PartnerReply.CANCELLED
            return self.replies[key]

        return self._called(cancelled)

    def registered_codes(self) -> set[str]:
        """The codes that customers may use there."""
        return {self.codes[key] for key, reply in self.replies.items() if reply is PartnerReply.REGISTERED}

    def _called(self, effect: Callable[[], PartnerReply]) -> PartnerReply:
        drawn = chance.random.random() if self.is_faulty else 1.0
        self.wait()
        if drawn < NOT_REACHED:
            raise NotReached("the connection was refused")
        if drawn < LOST_REQUEST:
            raise NoAnswer("the request is lost")
        reply = effect()
        if drawn < LOST_REPLY:
            chance.pass_time(SLOW_SECONDS)
            raise NoAnswer("the reply is lost")
        self.wait()
        return reply
