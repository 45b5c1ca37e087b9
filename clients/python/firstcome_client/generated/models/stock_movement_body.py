from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.stock_movement_body_kind import StockMovementBodyKind

T = TypeVar("T", bound="StockMovementBody")


@_attrs_define
class StockMovementBody:
    """
    Attributes:
        id (int):
        kind (StockMovementBodyKind):
        delta (int):
        on_hand_after (int):
        order (None | UUID):
        reason (str):
        at (datetime.datetime):
    """

    id: int
    kind: StockMovementBodyKind
    delta: int
    on_hand_after: int
    order: None | UUID
    reason: str
    at: datetime.datetime
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = self.id

        kind = self.kind.value

        delta = self.delta

        on_hand_after = self.on_hand_after

        order: None | str
        if isinstance(self.order, UUID):
            order = str(self.order)
        else:
            order = self.order

        reason = self.reason

        at = self.at.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "kind": kind,
                "delta": delta,
                "on_hand_after": on_hand_after,
                "order": order,
                "reason": reason,
                "at": at,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        id = d.pop("id")

        kind = StockMovementBodyKind(d.pop("kind"))

        delta = d.pop("delta")

        on_hand_after = d.pop("on_hand_after")

        def _parse_order(data: object) -> None | UUID:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                order_type_0 = UUID(data)

                return order_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | UUID, data)

        order = _parse_order(d.pop("order"))

        reason = d.pop("reason")

        at = datetime.datetime.fromisoformat(d.pop("at"))

        stock_movement_body = cls(
            id=id,
            kind=kind,
            delta=delta,
            on_hand_after=on_hand_after,
            order=order,
            reason=reason,
            at=at,
        )

        stock_movement_body.additional_properties = d
        return stock_movement_body

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
