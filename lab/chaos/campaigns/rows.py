"""The table of campaigns in docs/reliability.md."""

from dataclasses import dataclass

HEADER = "| campaign | faults | acknowledged | compared | lost | doubled | longest recovery |"


@dataclass(frozen=True)
class Row:
    """One line of the table in docs/reliability.md."""

    campaign: str
    faults: int
    acknowledged: int
    compared: int
    lost: int
    doubled: int
    recovery_seconds: float

    def __str__(self) -> str:
        counts = (self.faults, self.acknowledged, self.compared, self.lost, self.doubled)
        return f"| {self.campaign} | {' | '.join(map(str, counts))} | {self.recovery_seconds:.1f} s |"
