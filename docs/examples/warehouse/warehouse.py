"""A warehouse: ships each paid order of a shop once, and notes in its metadata when that was.

    SHOP=https://shop.example KEY=fc_key_… python warehouse.py state

The key has the scopes `events:read`, `orders:read` and `orders:write`. One process runs at a time. It may be
stopped anywhere and started again with the same folder.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from firstcome_client import ApiKey, ProblemError, Shop, checked
from firstcome_client.generated.api.orders import update_order
from firstcome_client.generated.models import OrderBody, PatchOrderInput, PatchOrderInputMetadata

# While a refund is under way an order is not `paid`; one that was refunded in part is afterwards.
SHIPPABLE = ("order.paid", "order.refunded")


class Warehouse:
    """The shop, and the folder with the cursor of its events and the labels of parcels."""

    def __init__(self, shop: Shop, folder: Path) -> None:
        self.shop = shop
        self.labels = folder / "labels"
        self.labels.mkdir(parents=True, exist_ok=True)
        self.cursor = folder / "cursor.txt"

    def run(self) -> None:
        """Ship what is paid, without end."""
        while True:
            try:
                self.follow()
            except ProblemError as refused:
                if refused.code != "cursor_expired":
                    raise
                why = "the shop has deleted events that came while this program was away"
                if restored_at := refused.body.get("restored_at"):
                    why = f"the shop was restored from a backup at {restored_at}, so compare labels with it"
                print(f"The cursor has expired: {why}. Going through all paid orders.", flush=True)
                self.cursor.unlink()

    def follow(self) -> None:
        after = self.cursor.read_text() if self.cursor.exists() else ""
        if not after:
            # Some may be older than the oldest event.
            for order in self.shop.orders(status="paid"):
                self.ship(order)
        for page in self.shop.follow_events(after=after, kind="order.*"):
            for event in page.results:
                if event.type_ in SHIPPABLE:
                    self.ship(self.shop.order(UUID(event.data["order"])))
            # After the work: what a crash interrupts comes again.
            write_whole(self.cursor, page.next_)

    def ship(self, order: OrderBody) -> None:
        """Ship it, unless that is done, or the order has been refunded."""
        if order.status != "paid" or "shipped_at" in order.metadata:
            return
        self.make_label(order)
        texts = PatchOrderInputMetadata.from_dict({"shipped_at": datetime.now(UTC).isoformat()})
        checked(update_order.sync(order.id, client=self.shop.api, body=PatchOrderInput(texts)))
        print("shipped", order.number, flush=True)

    def make_label(self, order: OrderBody) -> None:
        """Put your carrier's call here, with the order's id as its reference: a repeat is the same parcel.

        `GET /orders/{id}/refunds` names the items that are not to be sent any more.
        """
        label = self.labels / f"{order.id}.txt"
        if not label.exists():
            lines = [f"{item.quantity} x {item.sku} {item.name}" for item in order.items]
            write_whole(label, "\n".join([f"Order {order.number}", *lines, ""]))


def write_whole(path: Path, text: str) -> None:
    """The file has its old content or all of the new one, even after a loss of power."""
    part = path.with_suffix(".part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


if __name__ == "__main__":
    with Shop(os.environ["SHOP"], ApiKey(os.environ["KEY"])) as shop:
        Warehouse(shop, Path(sys.argv[1])).run()
