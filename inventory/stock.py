"""The stock of products as orders read it: plain rows, for a batch reads hundreds of them."""

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Stock:
    """A copy of a product's row, where `is_active` is 1 or 0.

    `newly_reserved` is what it is to reserve and has not written yet.
    """

    id: int
    sku: str
    name: str
    price: int
    on_hand: int
    reserved: int
    is_active: bool
    low_stock_threshold: int | None
    limit_per_account: int | None
    version: int
    newly_reserved: int = 0

    @property
    def available(self) -> int:
        """How many the next order may take."""
        return self.on_hand - self.reserved - self.newly_reserved


COLUMNS = [field.name for field in fields(Stock) if field.name != "newly_reserved"]
