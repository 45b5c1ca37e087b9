from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.api_key_secret_body_scopes_item import ApiKeySecretBodyScopesItem

T = TypeVar("T", bound="ApiKeySecretBody")


@_attrs_define
class ApiKeySecretBody:
    """An API key with its new secret, which is shown this once.

    Attributes:
        id (int):
        name (str):
        prefix (str):
        scopes (list[ApiKeySecretBodyScopesItem]):
        secret (str):
    """

    id: int
    name: str
    prefix: str
    scopes: list[ApiKeySecretBodyScopesItem]
    secret: str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = self.id

        name = self.name

        prefix = self.prefix

        scopes = []
        for scopes_item_data in self.scopes:
            scopes_item = scopes_item_data.value
            scopes.append(scopes_item)

        secret = self.secret

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "name": name,
                "prefix": prefix,
                "scopes": scopes,
                "secret": secret,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        id = d.pop("id")

        name = d.pop("name")

        prefix = d.pop("prefix")

        scopes = []
        _scopes = d.pop("scopes")
        for scopes_item_data in _scopes:
            scopes_item = ApiKeySecretBodyScopesItem(scopes_item_data)

            scopes.append(scopes_item)

        secret = d.pop("secret")

        api_key_secret_body = cls(
            id=id,
            name=name,
            prefix=prefix,
            scopes=scopes,
            secret=secret,
        )

        api_key_secret_body.additional_properties = d
        return api_key_secret_body

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
