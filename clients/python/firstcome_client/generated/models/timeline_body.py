from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.archived_month_body import ArchivedMonthBody
    from ..models.event_body import EventBody


T = TypeVar("T", bound="TimelineBody")


@_attrs_define
class TimelineBody:
    """
    Attributes:
        results (list[EventBody]):
        archived (list[ArchivedMonthBody] | Unset): `[]` if it is absent.
    """

    results: list[EventBody]
    archived: list[ArchivedMonthBody] | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        results = []
        for results_item_data in self.results:
            results_item = results_item_data.to_dict()
            results.append(results_item)

        archived: list[dict[str, Any]] | Unset = UNSET
        if not isinstance(self.archived, Unset):
            archived = []
            for archived_item_data in self.archived:
                archived_item = archived_item_data.to_dict()
                archived.append(archived_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "results": results,
            }
        )
        if archived is not UNSET:
            field_dict["archived"] = archived

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.archived_month_body import ArchivedMonthBody  # noqa: PLC0415
        from ..models.event_body import EventBody  # noqa: PLC0415

        d = dict(src_dict)
        results = []
        _results = d.pop("results")
        for results_item_data in _results:
            results_item = EventBody.from_dict(results_item_data)

            results.append(results_item)

        _archived = d.pop("archived", UNSET)
        archived: list[ArchivedMonthBody] | Unset = UNSET
        if _archived is not UNSET:
            archived = []
            for archived_item_data in _archived:
                archived_item = ArchivedMonthBody.from_dict(archived_item_data)

                archived.append(archived_item)

        timeline_body = cls(
            results=results,
            archived=archived,
        )

        timeline_body.additional_properties = d
        return timeline_body

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
