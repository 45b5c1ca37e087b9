from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.add_codes_input import AddCodesInput
from ...models.added_codes_body import AddedCodesBody
from ...models.problem import Problem
from ...types import UNSET, Response, Unset


def _get_kwargs(
    campaign_id: int,
    *,
    body: AddCodesInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/v1/campaigns/{campaign_id}/codes".format(
            campaign_id=quote(str(campaign_id), safe=""),
        ),
    }

    if not isinstance(body, Unset):
        _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> AddedCodesBody | Problem | None:
    if response.status_code == 201:
        response_201 = AddedCodesBody.from_dict(response.json())

        return response_201

    if response.status_code == 400:
        response_400 = Problem.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = Problem.from_dict(response.json())

        return response_401

    if response.status_code == 403:
        response_403 = Problem.from_dict(response.json())

        return response_403

    if response.status_code == 404:
        response_404 = Problem.from_dict(response.json())

        return response_404

    if response.status_code == 408:
        response_408 = Problem.from_dict(response.json())

        return response_408

    if response.status_code == 413:
        response_413 = Problem.from_dict(response.json())

        return response_413

    if response.status_code == 415:
        response_415 = Problem.from_dict(response.json())

        return response_415

    if response.status_code == 429:
        response_429 = Problem.from_dict(response.json())

        return response_429

    if response.status_code == 503:
        response_503 = Problem.from_dict(response.json())

        return response_503

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[AddedCodesBody | Problem]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    campaign_id: int,
    *,
    client: AuthenticatedClient,
    body: AddCodesInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[AddedCodesBody | Problem]:
    """Add codes to the pool of a campaign (staff)

     Codes that exist in any campaign are skipped: repeating the call is safe.

    Args:
        campaign_id (int):
        firstcome_account (str | Unset):
        body (AddCodesInput | Unset): Either the codes themselves, or how many to generate.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[AddedCodesBody | Problem]
    """

    kwargs = _get_kwargs(
        campaign_id=campaign_id,
        body=body,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    campaign_id: int,
    *,
    client: AuthenticatedClient,
    body: AddCodesInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> AddedCodesBody | Problem | None:
    """Add codes to the pool of a campaign (staff)

     Codes that exist in any campaign are skipped: repeating the call is safe.

    Args:
        campaign_id (int):
        firstcome_account (str | Unset):
        body (AddCodesInput | Unset): Either the codes themselves, or how many to generate.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        AddedCodesBody | Problem
    """

    return sync_detailed(
        campaign_id=campaign_id,
        client=client,
        body=body,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    campaign_id: int,
    *,
    client: AuthenticatedClient,
    body: AddCodesInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[AddedCodesBody | Problem]:
    """Add codes to the pool of a campaign (staff)

     Codes that exist in any campaign are skipped: repeating the call is safe.

    Args:
        campaign_id (int):
        firstcome_account (str | Unset):
        body (AddCodesInput | Unset): Either the codes themselves, or how many to generate.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[AddedCodesBody | Problem]
    """

    kwargs = _get_kwargs(
        campaign_id=campaign_id,
        body=body,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    campaign_id: int,
    *,
    client: AuthenticatedClient,
    body: AddCodesInput | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> AddedCodesBody | Problem | None:
    """Add codes to the pool of a campaign (staff)

     Codes that exist in any campaign are skipped: repeating the call is safe.

    Args:
        campaign_id (int):
        firstcome_account (str | Unset):
        body (AddCodesInput | Unset): Either the codes themselves, or how many to generate.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        AddedCodesBody | Problem
    """

    return (
        await asyncio_detailed(
            campaign_id=campaign_id,
            client=client,
            body=body,
            firstcome_account=firstcome_account,
        )
    ).parsed
