"""A warehouse: ships each paid order of a shop once, and notes in its metadata when that was.

    SHOP=https://shop.example KEY=fc_key_… python warehouse.py state

The key has the scopes `events:read`, `orders:read` and `orders:write`. One process runs at a time. It may be
stopped anywhere and started again with the same folder.
"""

import os
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from firstcome_client import ApiKey, NoAnswerError, ProblemError, Shop, checked
from firstcome_client.generated.api.orders import list_refunds, update_order
from firstcome_client.generated.models import OrderBody, PatchOrderInput, PatchOrderInputMetadata

# While a refund is under way an order is not `paid`; one that was refunded in part is afterwards.
SHIPPABLE = ("order.paid", "order.refunded")
PAUSE_SECONDS = 5


class Warehouse:
    """The shop, and the folder with the cursor of its events and the labels of parcels."""

    def __init__(self, shop: Shop, folder: Path) -> None:
        self.shop = shop
        self.labels = folder / "labels"
        self.labels.mkdir(parents=True, exist_ok=True)
        self.cursor = folder / "cursor.txt"

    def run(self) -> None:
        """Ship what is paid, without end; a shop that is away is tried again."""
        while True:
            try:
                self.follow()
            except ProblemError as refused:
                is_of_cursor = any(error.field == "after" for error in refused.errors)
                if is_of_cursor or refused.code == "cursor_expired":
                    self.begin_again(refused)
                elif refused.status < 500 and refused.status not in (409, 429):
                    raise
                else:
                    say(refused)
            except NoAnswerError as error:
                say(error)

    def begin_again(self, refused: ProblemError) -> None:
        """The shop can't go on from the cursor."""
        if restored_at := refused.body.get("restored_at"):
            why = f"has expired: the shop was restored from a backup at {restored_at}: compare labels with it"
        elif refused.status == 400:
            why = "is not one that the shop knows"
        else:
            why = "has expired: the shop has deleted events that came while this program was away"
        print(f"The cursor {why}. Going through all paid orders.", flush=True)
        self.cursor.unlink(missing_ok=True)

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
        """Ship what is to be sent of it, unless that is done."""
        if order.status != "paid" or "shipped_at" in order.metadata:
            return
        if not self.make_label(order):
            return
        texts = PatchOrderInputMetadata.from_dict({"shipped_at": datetime.now(UTC).isoformat()})
        checked(update_order.sync(order.id, client=self.shop.api, body=PatchOrderInput(texts)))
        print("shipped", order.number, flush=True)

    def make_label(self, order: OrderBody) -> bool:
        """Whether there is a parcel: not of an order of which nothing is left to send.

        Put your carrier's call here, with the order's id as its reference: a repeat is the same parcel.
        """
        label = self.labels / f"{order.id}.txt"
        if label.exists():
            return True
        refunded = self.refunded(order)
        left = [(item.quantity - refunded[item.product], item) for item in order.items]
        lines = [f"{quantity} x {item.sku} {item.name}" for quantity, item in left if quantity > 0]
        if lines:
            write_whole(label, "\n".join([f"Order {order.number}", *lines, ""]))
        return bool(lines)

    def refunded(self, order: OrderBody) -> Counter[int]:
        """The units of each product that are not to be sent.

        Those of a refund that failed are among them: its money is owed still, and its units stay refunded.
        """
        units: Counter[int] = Counter()
        for refund in self.shop.each(list_refunds.sync(order.id, client=self.shop.api)):
            for item in refund.items:
                units[item.product] += item.quantity
        return units


def write_whole(path: Path, text: str) -> None:
    """The file has its old content or all of the new one, even after a loss of power."""
    part = path.with_suffix(".part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def say(error: Exception) -> None:
    print(f"{error!r}; trying again in {PAUSE_SECONDS} s", flush=True)
    time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    with Shop(os.environ["SHOP"], ApiKey(os.environ["KEY"])) as shop:
        Warehouse(shop, Path(sys.argv[1])).run()
