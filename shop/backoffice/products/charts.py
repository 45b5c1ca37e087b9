"""The product page's drawings: parts of SVG pictures, in whole units of their view boxes."""

from dataclasses import dataclass

from django.utils.translation import gettext

from inventory.models import Product
from inventory.stock_reports import RecentSales

WIDTH = 1_200
COLUMN_HEIGHT = 100
COLUMN_GAP = 12
MARK_WIDTH = 4


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of a picture, with the class that colours it and the text that it stands for."""

    x: int
    y: int
    width: int
    height: int
    colour: str
    text: str


def stock_bar(product: Product) -> list[Part]:
    """What is on hand as one bar: available, then reserved, and a mark at the threshold for low stock."""
    if not product.on_hand:
        return [Part(0, 0, WIDTH, 1, "fc-empty", gettext("nothing on hand"))]
    available = WIDTH * product.available // product.on_hand
    parts = [
        Part(
            0,
            0,
            available,
            1,
            "fc-available",
            _text(gettext("%(count)s available"), product.available),
        ),
        Part(
            available,
            0,
            WIDTH - available,
            1,
            "fc-reserved",
            _text(gettext("%(count)s reserved"), product.reserved),
        ),
    ]
    threshold = product.low_stock_threshold
    if threshold is not None and threshold <= product.on_hand:
        at = min(WIDTH * threshold // product.on_hand, WIDTH - MARK_WIDTH)
        text = _text(gettext("low at %(count)s available"), threshold)
        parts.append(Part(at, 0, MARK_WIDTH, 1, "fc-threshold", text))
    return parts


def sales_columns(sales: RecentSales) -> list[Part]:
    """A column for each hour, as high as its part of the best hour."""
    most = max(units for _, units in sales.by_hour) or 1
    step = WIDTH // len(sales.by_hour)
    columns, sold = [], gettext("%(count)s sold")
    for number, (hour, units) in enumerate(sales.by_hour):
        # At least a line, so that hours without sales can be seen as well.
        height = max(1, COLUMN_HEIGHT * units // most)
        colour = "fc-available" if units else "fc-empty"
        text = f"{hour:%H:%M}: {_text(sold, units)}"
        x, y = number * step, COLUMN_HEIGHT - height
        columns.append(Part(x, y, step - COLUMN_GAP, height, colour, text))
    return columns


def _text(text: str, count: int) -> str:
    return text % {"count": f"{count:,}"}
