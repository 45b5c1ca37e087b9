from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define

T = TypeVar("T", bound="GrantInput")


@_attrs_define
class GrantInput:
    """
    Attributes:
        user (int):
        amount (int):
        reason (str):
    """

    user: int
    amount: int
    reason: str

    def to_dict(self) -> dict[str, Any]:
        user = self.user

        amount = self.amount

        reason = self.reason

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "user": user,
                "amount": amount,
                "reason": reason,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        user = d.pop("user")

        amount = d.pop("amount")

        reason = d.pop("reason")

        grant_input = cls(
            user=user,
            amount=amount,
            reason=reason,
        )

        return grant_input
