from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define

from ..types import UNSET, Unset

T = TypeVar("T", bound="IssueCouponInput")


@_attrs_define
class IssueCouponInput:
    """`user` is for staff, who issue to another account.

    Attributes:
        campaign (int):
        user (int | None | Unset):
    """

    campaign: int
    user: int | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        campaign = self.campaign

        user: int | None | Unset
        if isinstance(self.user, Unset):
            user = UNSET
        else:
            user = self.user

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "campaign": campaign,
            }
        )
        if user is not UNSET:
            field_dict["user"] = user

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        campaign = d.pop("campaign")

        def _parse_user(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        user = _parse_user(d.pop("user", UNSET))

        issue_coupon_input = cls(
            campaign=campaign,
            user=user,
        )

        return issue_coupon_input
