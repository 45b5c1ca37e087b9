"""The HTTP API of campaigns, coupons and queue tickets."""

from functools import partial
from uuid import UUID

import orjson
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import OpenApiResponse, extend_schema_view
from rest_framework.permissions import IsAuthenticatedOrReadOnly

from coupons import campaigns, issuing, schemas, selectors
from coupons.allocation.outcomes import Answer, Queued
from coupons.codes import eligible_accounts, pool
from coupons.models import Campaign, QueueTicket
from coupons.queue import tickets
from foundation.account import TokenInvalid
from foundation.concurrency.event_loop import run_in_thread, submit_to_batcher
from foundation.errors import NotFound, Throttled
from foundation.http import cached_lists, keyed_calls, preferences
from foundation.http.messages import account_id, caller_id
from foundation.http.openapi import api_doc
from foundation.http.openapi.api_doc import STAFF_ONLY, extend_schema
from foundation.http.pagination import paginate, paginate_for_staff
from foundation.http.permissions import (
    allowed_account_id,
    has_staff_permission,
    listed_account_id,
    require_claim_of_staff,
    require_staff_permission,
)
from foundation.http.validation import OwnerQuery, PauseInput, read, read_query
from foundation.http.views import JSONResponse, Request, Response, View, burst
from foundation.idempotency.recorded_answers import Replay
from foundation.observability import tracing
from foundation.rates import rate_limits
from foundation.redis import completion_notifications
from foundation.scopes import Resource

TERMS_REFUSED = {403: ["approval_required", "permission_denied"]}
FOR_OTHERS_ONLY = {403: ["own_account", "permission_denied"]}
ISSUING_REFUSALS = {
    403: ["own_account", "permission_denied"],
    404: ["campaign_not_found", "not_found"],
    409: [
        "sold_out",
        "campaign_not_open",
        "campaign_closed",
        "campaign_paused",
        "not_eligible",
        "coupon_void",
        "conflict",
        "lock_not_acquired",
        "strategy_not_available",
    ],
    429: ["throttled"],
    502: ["partner_failed"],
    503: ["overloaded", "unavailable"],
}
# What an issuer settles on a small machine.
TICKETS_A_SECOND = 500
MOST_SECONDS = 30


class CampaignView(View):
    resource = Resource.CAMPAIGNS


class Campaigns(CampaignView):
    permission_classes = [IsAuthenticatedOrReadOnly]

    @extend_schema(
        operation_id="listCampaigns",
        summary="Campaigns, newest first",
        description="Scheduled, open and sold out campaigns; staff see closed ones too. "
        + api_doc.CACHED_LIST,
        parameters=[api_doc.IF_NONE_MATCH, api_doc.ETAG],
        query=[schemas.ListCampaignsQuery],
        page_of=schemas.CampaignBody,
        responses={304: api_doc.NOT_MODIFIED},
    )
    @burst
    async def get(self, request: Request) -> JSONResponse:
        return await cached_lists.respond(
            request, customers=_campaigns_of_customers, staff=_campaigns_of_staff
        )

    @extend_schema(
        operation_id="createCampaign",
        summary="Create a campaign (staff)",
        parameters=[api_doc.LOCATION],
        request=schemas.CreateCampaignInput,
        responses={201: schemas.CampaignBody},
        refused=TERMS_REFUSED | {409: ["code_exists"]},
    )
    def post(self, request: Request) -> JSONResponse:
        """It opens at once unless `opens_at` says otherwise."""
        require_staff_permission(request, "coupons.add_campaign")
        campaign = campaigns.create(**schemas.terms(read(schemas.CreateCampaignInput, request)))
        cached_lists.expire()
        return _created_response(request, campaign.pk, schemas.campaign_body(campaign, for_staff=True))


class OneCampaign(CampaignView):
    permission_classes = [IsAuthenticatedOrReadOnly]

    @extend_schema(
        operation_id="getCampaign",
        summary="One campaign",
        description="Closed campaigns are visible to staff only.",
        responses=schemas.CampaignBody,
    )
    def get(self, request: Request, campaign_id: int) -> Response:
        for_staff = has_staff_permission(request, "coupons.view_campaign")
        campaign = campaigns.get(campaign_id=campaign_id, include_closed=for_staff)
        return Response(schemas.campaign_body(campaign, for_staff=for_staff))

    @extend_schema(
        operation_id="updateCampaign",
        summary="Change a campaign (staff)",
        description="Once a coupon is issued, code source, partner, discount, `products` and "
        "`first_order_only` can't change. A new `shared_code` takes the place of the one before at once, and "
        "accounts that have a coupon keep it. `eligible` is for new coupons: issued ones stay usable.",
        request=schemas.ChangeCampaignInput,
        responses={200: schemas.CampaignBody},
        refused=TERMS_REFUSED | {409: ["quantity_below_issued", "campaign_has_coupons", "code_exists"]},
    )
    def patch(self, request: Request, campaign_id: int) -> Response:
        require_staff_permission(request, "coupons.change_campaign")
        given = read(schemas.ChangeCampaignInput, request)
        campaign = campaigns.change(campaign_id=campaign_id, **schemas.terms(given))
        cached_lists.expire()
        return Response(schemas.campaign_body(campaign, for_staff=True))


class PauseCampaign(CampaignView):
    is_paused = True

    @extend_schema(
        operation_id="pauseCampaign",
        summary="Pause a campaign (staff)",
        description="From this answer on no process issues a coupon of it, until it is resumed: "
        "`POST /coupons` is 409 `campaign_paused`, accounts that have their coupon still get it, and queue "
        "tickets wait. Coupons whose partner is being asked may still be issued. A paused campaign stays as "
        "it is.",
        request=PauseInput,
        responses={200: schemas.CampaignBody},
        refused=STAFF_ONLY,
    )
    def post(self, request: Request, campaign_id: int) -> Response:
        require_staff_permission(request, "coupons.change_campaign")
        reason = read(PauseInput, request).reason
        campaign = campaigns.set_paused(campaign_id=campaign_id, is_paused=self.is_paused, reason=reason)
        cached_lists.expire()
        return Response(schemas.campaign_body(campaign, for_staff=True))


@extend_schema_view(
    post=extend_schema(
        operation_id="resumeCampaign",
        summary="Resume a paused campaign (staff)",
        description="It issues coupons again, as far as its terms allow; queue tickets go on in their order. "
        "A campaign that is not paused stays as it is.",
    )
)
class ResumeCampaign(PauseCampaign):
    is_paused = False


class CampaignCodes(CampaignView):
    is_one_transaction = False

    @extend_schema(
        operation_id="listCodes",
        summary="The pool of a campaign, newest first (staff)",
        query=[schemas.ListCodesQuery],
        page_of=schemas.PoolCodeBody,
        refused=STAFF_ONLY,
    )
    def get(self, request: Request, campaign_id: int) -> Response:
        """Codes that staff added, or the shop made, and what became of each."""
        require_staff_permission(request, "coupons.view_poolcode")
        given = read_query(schemas.ListCodesQuery, request)
        rows = pool.list_codes(campaign_id=campaign_id, status=given.status)
        return paginate_for_staff(request, rows, schemas.code_body)

    @extend_schema(
        operation_id="addCodes",
        summary="Add codes to the pool of a campaign (staff)",
        description="Codes that exist in any campaign are skipped: repeating the call is safe.",
        request=schemas.AddCodesInput,
        responses={201: schemas.AddedCodesBody},
        refused=STAFF_ONLY,
    )
    def post(self, request: Request, campaign_id: int) -> Response:
        require_staff_permission(request, "coupons.add_poolcode")
        given = read(schemas.AddCodesInput, request)
        if given.count is not None:
            keyed = keyed_calls.parts_of(request)
            added = pool.generate(campaign_id=campaign_id, count=given.count, keyed=keyed)
        else:
            added = pool.add(campaign_id=campaign_id, codes=given.codes or [])
        cached_lists.expire()
        return Response(added._asdict(), status=201)


class CampaignEligibleAccounts(CampaignView):
    is_one_transaction = False

    @extend_schema(
        operation_id="addEligibleAccounts",
        summary="Add accounts to the list of a campaign (staff)",
        description="For campaigns with `eligible: listed`: only these accounts get a coupon. Accounts that "
        "are listed already are skipped, so repeating the call is safe. If an account doesn't exist the call "
        "is 400 `invalid`, which names each, and nothing is done.",
        request=schemas.EligibleAccountsInput,
        responses={201: schemas.EligibleAccountsBody},
        refused=FOR_OTHERS_ONLY,
    )
    def post(self, request: Request, campaign_id: int) -> Response:
        require_staff_permission(request, "coupons.add_eligibleaccount")
        given = read(schemas.EligibleAccountsInput, request)
        listed = eligible_accounts.add(campaign_id=campaign_id, account_ids=given.users)
        return Response(listed._asdict(), status=201)


class OneCampaignCode(CampaignView):
    @extend_schema(
        operation_id="renameCode",
        summary="Rename an available code (staff)",
        request=schemas.RenameCodeInput,
        responses={200: schemas.PoolCodeBody},
        refused=STAFF_ONLY | {409: ["code_issued", "code_exists"]},
    )
    def patch(self, request: Request, campaign_id: int, code: str) -> Response:
        """An issued code is 409 `code_issued`."""
        require_staff_permission(request, "coupons.change_poolcode")
        given = read(schemas.RenameCodeInput, request)
        return Response(schemas.code_body(pool.rename(campaign_id=campaign_id, code=code, to=given.code)))


async def _respond_waiting(request: Request, replay: Replay) -> JSONResponse:
    """The queue ticket of the recorded response as it stands now."""
    assert replay.answer
    ticket_id = UUID(orjson.loads(replay.answer.body)["id"])
    queued = await submit_to_batcher(tickets.READER, ticket_id)
    return _issued_response(request, queued)


class CouponView(View):
    resource = Resource.COUPONS


class Coupons(CouponView):
    limit = rate_limits.COUPONS

    @extend_schema(
        operation_id="listCoupons",
        summary="The caller's coupons, newest first",
        description="Staff see the coupons of all accounts. With the `status` `issued` or `expired`, and "
        "without `account`, a page of theirs looks at 20,000 coupons at most: it may have fewer results "
        "than `limit`, or none, while `next` leads on.",
        query=[schemas.ListCouponsQuery, OwnerQuery],
        page_of=schemas.CouponBody,
        refused=STAFF_ONLY,
    )
    def get(self, request: Request) -> Response:
        owner_id = listed_account_id(request, "coupons.view_coupon")
        given = read_query(schemas.ListCouponsQuery, request)
        found = selectors.find(owner_id=owner_id, campaign_id=given.campaign, status=given.status)
        return (paginate_for_staff if has_staff_permission(request, "coupons.view_coupon") else paginate)(
            request,
            found.coupons,
            schemas.coupon_body,
            parts=found.parts,
            is_bounded=found.among is not None,
            among=found.among,
        )

    @extend_schema(
        operation_id="claimCoupon",
        summary="Issue the caller's coupon of a campaign",
        description="Staff may name the `user` to issue to; an account that doesn't exist or is disabled is "
        "404 `not_found`, and their own 403 `own_account`. A campaign with the strategy `queue` answers 202 "
        "with a ticket, and the same one until it is settled; after a `failed` one, with a new one at the "
        "end of the queue. Before it opens, a campaign issues neither coupons nor tickets, and "
        "`Retry-After` says when it opens. While staff have paused it, it issues neither: an account gets "
        "the coupon or the waiting ticket that it has. A campaign whose pool has fewer codes than its "
        "`quantity` is `sold_out` after its last code.",
        parameters=[
            api_doc.LOCATION,
            api_doc.header("LOCATION_OF_TICKET"),
            api_doc.header("RETRY_AFTER_OF_NEW_TICKET"),
        ],
        request=schemas.IssueCouponInput,
        responses={
            201: OpenApiResponse(
                schemas.CouponBody, description="The account's coupon, issued by this call."
            ),
            200: OpenApiResponse(schemas.CouponBody, description="The account's existing coupon."),
            202: OpenApiResponse(schemas.TicketBody, description="The account's queue ticket."),
        },
        refused=ISSUING_REFUSALS,
    )
    @burst
    @keyed_calls.repeatable(_respond_waiting)
    async def post(self, request: Request) -> JSONResponse:
        # The `user` is for staff only, which comes before what else may be wrong with the body.
        if isinstance(request.data, dict) and request.data.get("user") is not None:
            require_claim_of_staff(request)
            return await run_in_thread(_issue_by_staff, request, group="staff")
        given = read(schemas.IssueCouponInput, request)
        caller = account_id(request)
        if tracing.is_on:
            tracing.annotate({"firstcome.campaign": given.campaign})
        try:
            with rate_limits.COUPONS.counting(caller, is_free=request.user.is_staff):
                issued = await issuing.issue_async(campaign_id=given.campaign, user_id=caller)
        except Throttled as refusal:
            issuing.count_refused(given.campaign, refusal)
            raise
        except NotFound as refusal:
            # A restore has lost the account: its token is refused, as by every other call.
            raise TokenInvalid if refusal.code == NotFound.code else refusal from None
        return _issued_response(request, issued)


class OneCoupon(CouponView):
    @extend_schema(
        operation_id="getCoupon",
        summary="One coupon",
        description="Of the caller; staff see the coupons of all accounts.",
        responses=schemas.CouponBody,
    )
    def get(self, request: Request, code: str) -> Response:
        coupon = selectors.get(code=code, owner_id=allowed_account_id(request, "coupons.view_coupon"))
        return Response(schemas.coupon_body(coupon))


class OneQueueTicket(CouponView):
    address_name = "queue-ticket"

    @extend_schema(
        operation_id="getQueueTicket",
        summary="One queue ticket",
        description="Of the caller; staff see the tickets of all accounts. It waits, or is settled for good. "
        "With `Prefer: wait=N` the answer comes once it is settled, after N seconds at most.",
        parameters=[api_doc.PREFER_WAIT, api_doc.header("RETRY_AFTER_OF_TICKET")],
        responses=schemas.TicketBody,
    )
    @burst
    async def get(self, request: Request, ticket_id: UUID) -> JSONResponse:
        sees_all = request.user.is_staff and await run_in_thread(
            has_staff_permission, request, "coupons.view_queueticket", group="staff"
        )
        queued = tickets.require_owner(
            await submit_to_batcher(tickets.READER, ticket_id), None if sees_all else account_id(request)
        )
        seconds = preferences.wait_seconds(request.header("Prefer"))
        if seconds and _is_waiting(queued):

            async def is_settled() -> bool:
                nonlocal queued
                queued = await submit_to_batcher(tickets.READER, ticket_id)
                return not _is_waiting(queued)

            await completion_notifications.wait(
                str(ticket_id), is_settled=is_settled, seconds=seconds, owner=caller_id(request)
            )
        return JSONResponse(schemas.ticket_body(queued), headers=_retry_after_header(queued))


class VoidCoupon(CouponView):
    @extend_schema(
        operation_id="voidCoupon",
        summary="Make a coupon void (staff)",
        description="Neither its slot nor a pool's code is issued again, and its owner can't get another "
        "coupon of the campaign.",
        request=schemas.VoidCouponInput,
        responses={200: schemas.CouponBody},
        refused=FOR_OTHERS_ONLY | {409: ["coupon_not_voidable"]},
    )
    def post(self, request: Request, code: str) -> Response:
        require_staff_permission(request, "coupons.change_coupon")
        given = read(schemas.VoidCouponInput, request)
        return Response(schemas.coupon_body(issuing.void(code=code, reason=given.reason)))


def _campaigns_of_customers(request: Request) -> Response:
    return paginate(request, _listed_campaigns(request, include_closed=False), schemas.campaign_body)


def _campaigns_of_staff(request: Request) -> Response:
    if not has_staff_permission(request, "coupons.view_campaign"):
        return _campaigns_of_customers(request)
    rows = _listed_campaigns(request, include_closed=True)
    return paginate_for_staff(request, rows, partial(schemas.campaign_body, for_staff=True))


def _listed_campaigns(request: Request, *, include_closed: bool) -> "QuerySet[Campaign]":
    status = read_query(schemas.ListCampaignsQuery, request).status
    rows = campaigns.visible(include_closed=include_closed).prefetch_related("discounted_products")
    return rows.filter(campaigns.in_status(status)) if status else rows


def _issue_by_staff(request: Request) -> JSONResponse:
    require_staff_permission(request, "coupons.add_coupon")
    given = read(schemas.IssueCouponInput, request)
    assert given.user is not None
    issued = issuing.issue_by_staff(campaign_id=given.campaign, user_id=given.user)
    return _issued_response(request, issued)


def _issued_response(request: Request, issued: Answer) -> JSONResponse:
    if isinstance(issued, Queued):
        headers = {"Location": reverse("queue-ticket", args=[issued.ticket.pk])} | _retry_after_header(issued)
        return JSONResponse(schemas.ticket_body(issued), status=202, headers=headers)
    body = schemas.coupon_body(issued.coupon)
    return _created_response(request, issued.coupon.code, body) if issued.is_new else JSONResponse(body)


def _is_waiting(queued: Queued) -> bool:
    return bool(queued.ticket.status == QueueTicket.Status.WAITING)


def _retry_after_header(queued: Queued) -> dict[str, str]:
    """When to read the ticket again: the more are ahead, the later, because reads slow the issuer down."""
    if not _is_waiting(queued):
        return {}
    return {"Retry-After": str(min(MOST_SECONDS, 1 + queued.ahead // TICKETS_A_SECOND))}


def _created_response(request: Request, name: int | str, body: dict[str, object]) -> JSONResponse:
    return JSONResponse(body, status=201, headers={"Location": f"{request.path}/{name}"})
