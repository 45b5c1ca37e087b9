from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.refund_body_source import RefundBodySource
from ..models.refund_body_status import RefundBodyStatus

if TYPE_CHECKING:
    from ..models.refund_item_body import RefundItemBody


T = TypeVar("T", bound="RefundBody")


@_attrs_define
class RefundBody:
    """A refund: `pending` until all of it is refunded; `stuck`, and visible to operators, if that takes long.

    `amount` is the sum of `points_amount` and `card_amount`; `items` are the refunded units. One whose
    `source` is `gateway` was made there, by amount: it has units where nothing is left of the order.

        Attributes:
            id (UUID):
            order (UUID):
            status (RefundBodyStatus):
            amount (int):
            points_amount (int):
            card_amount (int):
            items (list[RefundItemBody]):
            reason (str):
            restock (bool):
            source (RefundBodySource):
            created_at (datetime.datetime):
    """

    id: UUID
    order: UUID
    status: RefundBodyStatus
    amount: int
    points_amount: int
    card_amount: int
    items: list[RefundItemBody]
    reason: str
    restock: bool
    source: RefundBodySource
    created_at: datetime.datetime
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = str(self.id)

        order = str(self.order)

        status = self.status.value

        amount = self.amount

        points_amount = self.points_amount

        card_amount = self.card_amount

        items = []
        for items_item_data in self.items:
            items_item = items_item_data.to_dict()
            items.append(items_item)

        reason = self.reason

        restock = self.restock

        source = self.source.value

        created_at = self.created_at.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "order": order,
                "status": status,
                "amount": amount,
                "points_amount": points_amount,
                "card_amount": card_amount,
                "items": items,
                "reason": reason,
                "restock": restock,
                "source": source,
                "created_at": created_at,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.refund_item_body import RefundItemBody  # noqa: PLC0415

        d = dict(src_dict)
        id = UUID(d.pop("id"))

        order = UUID(d.pop("order"))

        status = RefundBodyStatus(d.pop("status"))

        amount = d.pop("amount")

        points_amount = d.pop("points_amount")

        card_amount = d.pop("card_amount")

        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = RefundItemBody.from_dict(items_item_data)

            items.append(items_item)

        reason = d.pop("reason")

        restock = d.pop("restock")

        source = RefundBodySource(d.pop("source"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        refund_body = cls(
            id=id,
            order=order,
            status=status,
            amount=amount,
            points_amount=points_amount,
            card_amount=card_amount,
            items=items,
            reason=reason,
            restock=restock,
            source=source,
            created_at=created_at,
        )

        refund_body.additional_properties = d
        return refund_body

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
