from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.order_body_status import OrderBodyStatus

if TYPE_CHECKING:
    from ..models.failure_body import FailureBody
    from ..models.item_body import ItemBody
    from ..models.order_payment_body import OrderPaymentBody


T = TypeVar("T", bound="OrderBody")


@_attrs_define
class OrderBody:
    """
    Attributes:
        id (UUID):
        status (OrderBodyStatus):
        items (list[ItemBody]):
        items_amount (int):
        discount_amount (int):
        points_amount (int):
        card_amount (int):
        total_amount (int):
        refunded_amount (int):
        currency (str):
        coupon (None | str):
        placed_at (datetime.datetime):
        expires_at (datetime.datetime):
        paid_at (datetime.datetime | None):
        payment (None | OrderPaymentBody):
        failure (FailureBody | None):
    """

    id: UUID
    status: OrderBodyStatus
    items: list[ItemBody]
    items_amount: int
    discount_amount: int
    points_amount: int
    card_amount: int
    total_amount: int
    refunded_amount: int
    currency: str
    coupon: None | str
    placed_at: datetime.datetime
    expires_at: datetime.datetime
    paid_at: datetime.datetime | None
    payment: None | OrderPaymentBody
    failure: FailureBody | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.failure_body import FailureBody  # noqa: PLC0415
        from ..models.order_payment_body import OrderPaymentBody  # noqa: PLC0415

        id = str(self.id)

        status = self.status.value

        items = []
        for items_item_data in self.items:
            items_item = items_item_data.to_dict()
            items.append(items_item)

        items_amount = self.items_amount

        discount_amount = self.discount_amount

        points_amount = self.points_amount

        card_amount = self.card_amount

        total_amount = self.total_amount

        refunded_amount = self.refunded_amount

        currency = self.currency

        coupon: None | str
        coupon = self.coupon

        placed_at = self.placed_at.isoformat()

        expires_at = self.expires_at.isoformat()

        paid_at: None | str
        if isinstance(self.paid_at, datetime.datetime):
            paid_at = self.paid_at.isoformat()
        else:
            paid_at = self.paid_at

        payment: dict[str, Any] | None
        if isinstance(self.payment, OrderPaymentBody):
            payment = self.payment.to_dict()
        else:
            payment = self.payment

        failure: dict[str, Any] | None
        if isinstance(self.failure, FailureBody):
            failure = self.failure.to_dict()
        else:
            failure = self.failure

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "status": status,
                "items": items,
                "items_amount": items_amount,
                "discount_amount": discount_amount,
                "points_amount": points_amount,
                "card_amount": card_amount,
                "total_amount": total_amount,
                "refunded_amount": refunded_amount,
                "currency": currency,
                "coupon": coupon,
                "placed_at": placed_at,
                "expires_at": expires_at,
                "paid_at": paid_at,
                "payment": payment,
                "failure": failure,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.failure_body import FailureBody  # noqa: PLC0415
        from ..models.item_body import ItemBody  # noqa: PLC0415
        from ..models.order_payment_body import OrderPaymentBody  # noqa: PLC0415

        d = dict(src_dict)
        id = UUID(d.pop("id"))

        status = OrderBodyStatus(d.pop("status"))

        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = ItemBody.from_dict(items_item_data)

            items.append(items_item)

        items_amount = d.pop("items_amount")

        discount_amount = d.pop("discount_amount")

        points_amount = d.pop("points_amount")

        card_amount = d.pop("card_amount")

        total_amount = d.pop("total_amount")

        refunded_amount = d.pop("refunded_amount")

        currency = d.pop("currency")

        def _parse_coupon(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        coupon = _parse_coupon(d.pop("coupon"))

        placed_at = datetime.datetime.fromisoformat(d.pop("placed_at"))

        expires_at = datetime.datetime.fromisoformat(d.pop("expires_at"))

        def _parse_paid_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                paid_at_type_0 = datetime.datetime.fromisoformat(data)

                return paid_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        paid_at = _parse_paid_at(d.pop("paid_at"))

        def _parse_payment(data: object) -> None | OrderPaymentBody:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                payment_type_0 = OrderPaymentBody.from_dict(data)

                return payment_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | OrderPaymentBody, data)

        payment = _parse_payment(d.pop("payment"))

        def _parse_failure(data: object) -> FailureBody | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                failure_type_0 = FailureBody.from_dict(data)

                return failure_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(FailureBody | None, data)

        failure = _parse_failure(d.pop("failure"))

        order_body = cls(
            id=id,
            status=status,
            items=items,
            items_amount=items_amount,
            discount_amount=discount_amount,
            points_amount=points_amount,
            card_amount=card_amount,
            total_amount=total_amount,
            refunded_amount=refunded_amount,
            currency=currency,
            coupon=coupon,
            placed_at=placed_at,
            expires_at=expires_at,
            paid_at=paid_at,
            payment=payment,
            failure=failure,
        )

        order_body.additional_properties = d
        return order_body

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
