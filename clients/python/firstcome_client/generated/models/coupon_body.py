from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.coupon_body_status import CouponBodyStatus

if TYPE_CHECKING:
    from ..models.discount_body import DiscountBody


T = TypeVar("T", bound="CouponBody")


@_attrs_define
class CouponBody:
    """
    Attributes:
        code (str):
        campaign (int):
        position (int | None):
        status (CouponBodyStatus):
        discount (DiscountBody):
        issued_at (datetime.datetime):
        expires_at (datetime.datetime):
        order (None | UUID):
    """

    code: str
    campaign: int
    position: int | None
    status: CouponBodyStatus
    discount: DiscountBody
    issued_at: datetime.datetime
    expires_at: datetime.datetime
    order: None | UUID
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        code = self.code

        campaign = self.campaign

        position: int | None
        position = self.position

        status = self.status.value

        discount = self.discount.to_dict()

        issued_at = self.issued_at.isoformat()

        expires_at = self.expires_at.isoformat()

        order: None | str
        if isinstance(self.order, UUID):
            order = str(self.order)
        else:
            order = self.order

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "code": code,
                "campaign": campaign,
                "position": position,
                "status": status,
                "discount": discount,
                "issued_at": issued_at,
                "expires_at": expires_at,
                "order": order,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.discount_body import DiscountBody  # noqa: PLC0415

        d = dict(src_dict)
        code = d.pop("code")

        campaign = d.pop("campaign")

        def _parse_position(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        position = _parse_position(d.pop("position"))

        status = CouponBodyStatus(d.pop("status"))

        discount = DiscountBody.from_dict(d.pop("discount"))

        issued_at = datetime.datetime.fromisoformat(d.pop("issued_at"))

        expires_at = datetime.datetime.fromisoformat(d.pop("expires_at"))

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

        coupon_body = cls(
            code=code,
            campaign=campaign,
            position=position,
            status=status,
            discount=discount,
            issued_at=issued_at,
            expires_at=expires_at,
            order=order,
        )

        coupon_body.additional_properties = d
        return coupon_body

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
