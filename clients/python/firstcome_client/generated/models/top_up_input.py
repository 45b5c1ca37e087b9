from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define

T = TypeVar("T", bound="TopUpInput")


@_attrs_define
class TopUpInput:
    """
    Attributes:
        amount (int):
        token (str):
    """

    amount: int
    token: str

    def to_dict(self) -> dict[str, Any]:
        amount = self.amount

        token = self.token

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "amount": amount,
                "token": token,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        amount = d.pop("amount")

        token = d.pop("token")

        top_up_input = cls(
            amount=amount,
            token=token,
        )

        return top_up_input
