from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.refund_item_input import RefundItemInput


T = TypeVar("T", bound="RefundInput")


@_attrs_define
class RefundInput:
    """Without `items` all that is left of the order is refunded; `restock` puts the goods back in stock.

    Attributes:
        reason (str):
        items (list[RefundItemInput] | None | Unset):
        restock (bool | None | Unset): `true` if it is absent.
    """

    reason: str
    items: list[RefundItemInput] | None | Unset = UNSET
    restock: bool | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        reason = self.reason

        items: list[dict[str, Any]] | None | Unset
        if isinstance(self.items, Unset):
            items = UNSET
        elif isinstance(self.items, list):
            items = []
            for items_type_0_item_data in self.items:
                items_type_0_item = items_type_0_item_data.to_dict()
                items.append(items_type_0_item)

        else:
            items = self.items

        restock: bool | None | Unset
        if isinstance(self.restock, Unset):
            restock = UNSET
        else:
            restock = self.restock

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "reason": reason,
            }
        )
        if items is not UNSET:
            field_dict["items"] = items
        if restock is not UNSET:
            field_dict["restock"] = restock

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.refund_item_input import RefundItemInput  # noqa: PLC0415

        d = dict(src_dict)
        reason = d.pop("reason")

        def _parse_items(data: object) -> list[RefundItemInput] | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                items_type_0 = []
                _items_type_0 = data
                for items_type_0_item_data in _items_type_0:
                    items_type_0_item = RefundItemInput.from_dict(items_type_0_item_data)

                    items_type_0.append(items_type_0_item)

                return items_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[RefundItemInput] | None | Unset, data)

        items = _parse_items(d.pop("items", UNSET))

        def _parse_restock(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        restock = _parse_restock(d.pop("restock", UNSET))

        refund_input = cls(
            reason=reason,
            items=items,
            restock=restock,
        )

        return refund_input
