from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.entry_body_kind import EntryBodyKind

T = TypeVar("T", bound="EntryBody")


@_attrs_define
class EntryBody:
    """
    Attributes:
        id (int):
        amount (int):
        balance_after_amount (int):
        kind (EntryBodyKind):
        order (None | UUID):
        at (datetime.datetime):
    """

    id: int
    amount: int
    balance_after_amount: int
    kind: EntryBodyKind
    order: None | UUID
    at: datetime.datetime
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = self.id

        amount = self.amount

        balance_after_amount = self.balance_after_amount

        kind = self.kind.value

        order: None | str
        if isinstance(self.order, UUID):
            order = str(self.order)
        else:
            order = self.order

        at = self.at.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "amount": amount,
                "balance_after_amount": balance_after_amount,
                "kind": kind,
                "order": order,
                "at": at,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        id = d.pop("id")

        amount = d.pop("amount")

        balance_after_amount = d.pop("balance_after_amount")

        kind = EntryBodyKind(d.pop("kind"))

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

        at = datetime.datetime.fromisoformat(d.pop("at"))

        entry_body = cls(
            id=id,
            amount=amount,
            balance_after_amount=balance_after_amount,
            kind=kind,
            order=order,
            at=at,
        )

        entry_body.additional_properties = d
        return entry_body

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
