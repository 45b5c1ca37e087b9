from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define

T = TypeVar("T", bound="EligibleAccountsInput")


@_attrs_define
class EligibleAccountsInput:
    """The ids of the accounts to list.

    Attributes:
        users (list[int]):
    """

    users: list[int]

    def to_dict(self) -> dict[str, Any]:
        users = self.users

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "users": users,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        users = cast(list[int], d.pop("users"))

        eligible_accounts_input = cls(
            users=users,
        )

        return eligible_accounts_input
