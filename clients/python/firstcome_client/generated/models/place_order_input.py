from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.card_input import CardInput
    from ..models.item_input import ItemInput


T = TypeVar("T", bound="PlaceOrderInput")


@_attrs_define
class PlaceOrderInput:
    """
    Attributes:
        items (list[ItemInput]):
        coupon (None | str | Unset):
        points_amount (int | None | Unset): `0` if it is absent.
        payment (CardInput | None | Unset):
        keep_on_decline (bool | None | Unset): A refused card leaves the order `awaiting_payment` until `expires_at`, to
            be paid with another one by `POST /payments`; the response is 402 all the same. `false` if it is absent.
        expected_total_amount (int | None | Unset):
    """

    items: list[ItemInput]
    coupon: None | str | Unset = UNSET
    points_amount: int | None | Unset = UNSET
    payment: CardInput | None | Unset = UNSET
    keep_on_decline: bool | None | Unset = UNSET
    expected_total_amount: int | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        from ..models.card_input import CardInput  # noqa: PLC0415

        items = []
        for items_item_data in self.items:
            items_item = items_item_data.to_dict()
            items.append(items_item)

        coupon: None | str | Unset
        if isinstance(self.coupon, Unset):
            coupon = UNSET
        else:
            coupon = self.coupon

        points_amount: int | None | Unset
        if isinstance(self.points_amount, Unset):
            points_amount = UNSET
        else:
            points_amount = self.points_amount

        payment: dict[str, Any] | None | Unset
        if isinstance(self.payment, Unset):
            payment = UNSET
        elif isinstance(self.payment, CardInput):
            payment = self.payment.to_dict()
        else:
            payment = self.payment

        keep_on_decline: bool | None | Unset
        if isinstance(self.keep_on_decline, Unset):
            keep_on_decline = UNSET
        else:
            keep_on_decline = self.keep_on_decline

        expected_total_amount: int | None | Unset
        if isinstance(self.expected_total_amount, Unset):
            expected_total_amount = UNSET
        else:
            expected_total_amount = self.expected_total_amount

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "items": items,
            }
        )
        if coupon is not UNSET:
            field_dict["coupon"] = coupon
        if points_amount is not UNSET:
            field_dict["points_amount"] = points_amount
        if payment is not UNSET:
            field_dict["payment"] = payment
        if keep_on_decline is not UNSET:
            field_dict["keep_on_decline"] = keep_on_decline
        if expected_total_amount is not UNSET:
            field_dict["expected_total_amount"] = expected_total_amount

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.card_input import CardInput  # noqa: PLC0415
        from ..models.item_input import ItemInput  # noqa: PLC0415

        d = dict(src_dict)
        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = ItemInput.from_dict(items_item_data)

            items.append(items_item)

        def _parse_coupon(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        coupon = _parse_coupon(d.pop("coupon", UNSET))

        def _parse_points_amount(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        points_amount = _parse_points_amount(d.pop("points_amount", UNSET))

        def _parse_payment(data: object) -> CardInput | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                payment_type_0 = CardInput.from_dict(data)

                return payment_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(CardInput | None | Unset, data)

        payment = _parse_payment(d.pop("payment", UNSET))

        def _parse_keep_on_decline(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        keep_on_decline = _parse_keep_on_decline(d.pop("keep_on_decline", UNSET))

        def _parse_expected_total_amount(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        expected_total_amount = _parse_expected_total_amount(d.pop("expected_total_amount", UNSET))

        place_order_input = cls(
            items=items,
            coupon=coupon,
            points_amount=points_amount,
            payment=payment,
            keep_on_decline=keep_on_decline,
            expected_total_amount=expected_total_amount,
        )

        return place_order_input
