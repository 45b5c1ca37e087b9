from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.order_payment_body_status import OrderPaymentBodyStatus

if TYPE_CHECKING:
    from ..models.next_action_body import NextActionBody


T = TypeVar("T", bound="OrderPaymentBody")


@_attrs_define
class OrderPaymentBody:
    """The newest payment of an order.

    Attributes:
        id (UUID):
        status (OrderPaymentBodyStatus):
        next_action (NextActionBody | None):
    """

    id: UUID
    status: OrderPaymentBodyStatus
    next_action: NextActionBody | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.next_action_body import NextActionBody  # noqa: PLC0415

        id = str(self.id)

        status = self.status.value

        next_action: dict[str, Any] | None
        if isinstance(self.next_action, NextActionBody):
            next_action = self.next_action.to_dict()
        else:
            next_action = self.next_action

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "status": status,
                "next_action": next_action,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.next_action_body import NextActionBody  # noqa: PLC0415

        d = dict(src_dict)
        id = UUID(d.pop("id"))

        status = OrderPaymentBodyStatus(d.pop("status"))

        def _parse_next_action(data: object) -> NextActionBody | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                next_action_type_0 = NextActionBody.from_dict(data)

                return next_action_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(NextActionBody | None, data)

        next_action = _parse_next_action(d.pop("next_action"))

        order_payment_body = cls(
            id=id,
            status=status,
            next_action=next_action,
        )

        order_payment_body.additional_properties = d
        return order_payment_body

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
