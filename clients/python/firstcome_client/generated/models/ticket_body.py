from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.ticket_body_status import TicketBodyStatus

if TYPE_CHECKING:
    from ..models.coupon_body import CouponBody


T = TypeVar("T", bound="TicketBody")


@_attrs_define
class TicketBody:
    """`ahead` is the number of waiting tickets before it; `coupon` is the coupon once it is issued.

    It is `failed` if the campaign closed meanwhile or its partner refused; then the account may request
    a coupon again.

        Attributes:
            id (UUID):
            campaign (int):
            status (TicketBodyStatus):
            ahead (int):
            coupon (CouponBody | None):
    """

    id: UUID
    campaign: int
    status: TicketBodyStatus
    ahead: int
    coupon: CouponBody | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.coupon_body import CouponBody  # noqa: PLC0415

        id = str(self.id)

        campaign = self.campaign

        status = self.status.value

        ahead = self.ahead

        coupon: dict[str, Any] | None
        if isinstance(self.coupon, CouponBody):
            coupon = self.coupon.to_dict()
        else:
            coupon = self.coupon

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "campaign": campaign,
                "status": status,
                "ahead": ahead,
                "coupon": coupon,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.coupon_body import CouponBody  # noqa: PLC0415

        d = dict(src_dict)
        id = UUID(d.pop("id"))

        campaign = d.pop("campaign")

        status = TicketBodyStatus(d.pop("status"))

        ahead = d.pop("ahead")

        def _parse_coupon(data: object) -> CouponBody | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                coupon_type_0 = CouponBody.from_dict(data)

                return coupon_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(CouponBody | None, data)

        coupon = _parse_coupon(d.pop("coupon"))

        ticket_body = cls(
            id=id,
            campaign=campaign,
            status=status,
            ahead=ahead,
            coupon=coupon,
        )

        ticket_body.additional_properties = d
        return ticket_body

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
