"""The HTTP edge of sales and their waiting rooms."""

from math import ceil
from uuid import UUID

from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema_view
from rest_framework.permissions import IsAuthenticatedOrReadOnly

from foundation import clock
from foundation.concurrency.event_loop import run_in_thread, submit_to_batcher
from foundation.http import cached_lists, keyed_calls, preferences
from foundation.http.messages import account_id, caller_id
from foundation.http.openapi import api_doc
from foundation.http.openapi.api_doc import STAFF_ONLY, extend_schema
from foundation.http.pagination import paginate, paginate_for_staff
from foundation.http.permissions import has_staff_permission, require_staff_permission
from foundation.http.validation import LARGEST_ID, Nothing, PauseInput, read, read_query
from foundation.http.views import JSONResponse, Request, Response, View, burst
from foundation.rates import rate_limits
from foundation.redis import completion_notifications
from foundation.scopes import Resource
from sales import sale_states, schemas, terms
from sales.models import Sale
from sales.waiting_room import draw, entries, joining, room_view
from sales.waiting_room.entries import Entry, JoinRequest, Status

# Seconds between two polls of an entry: a part of its estimated wait, so that they come closer as it ends;
# before the opening, until it; and while nothing can be estimated.
POLLS_PER_WAIT = 4
MOST_SECONDS = 30
PAUSED_SECONDS = 5
RETRY_AFTER = api_doc.header("RETRY_AFTER_OF_ENTRY")


class SaleView(View):
    resource = Resource.SALES


class Sales(SaleView):
    permission_classes = [IsAuthenticatedOrReadOnly]

    @extend_schema(
        operation_id="listSales",
        summary="Sales, newest first",
        description=api_doc.CACHED_LIST,
        parameters=[api_doc.IF_NONE_MATCH, api_doc.ETAG],
        query=[schemas.ListSalesQuery],
        page_of=schemas.SaleBody,
        responses={304: api_doc.NOT_MODIFIED},
    )
    @burst
    async def get(self, request: Request) -> JSONResponse:
        return await cached_lists.respond(
            request,
            customers=lambda request: paginate(request, _listed_sales(request), schemas.sale_body),
            staff=lambda request: paginate_for_staff(request, _listed_sales(request), schemas.sale_body),
        )

    @extend_schema(
        operation_id="createSale",
        summary="Create a sale (staff)",
        description="From this answer on its products can't be ordered outside of it. A product is in one "
        "sale at most that is not over.",
        parameters=[api_doc.LOCATION],
        request=schemas.CreateSaleInput,
        responses={201: schemas.SaleBody},
        refused=STAFF_ONLY | {409: ["product_in_sale"]},
    )
    def post(self, request: Request) -> Response:
        require_staff_permission(request, "sales.add_sale")
        sale = terms.create(**schemas.given_terms(read(schemas.CreateSaleInput, request)))
        cached_lists.expire()
        address = f"{request.path}/{sale.pk}"
        return Response(schemas.sale_body(sale), status=201, headers={"Location": address})


class OneSale(SaleView):
    permission_classes = [IsAuthenticatedOrReadOnly]

    @extend_schema(operation_id="getSale", summary="One sale", responses=schemas.SaleBody)
    def get(self, request: Request, sale_id: int) -> Response:
        """Its terms, and what it is now."""
        return Response(schemas.sale_body(draw.close_if_due(terms.get(sale_id=sale_id))))

    @extend_schema(
        operation_id="updateSale",
        summary="Change a sale (staff)",
        description="Every process obeys once this is answered. When it has opened, `opens_at` and "
        "`admission` can't change; when it is over, only `name` and `products`: a product can't be "
        "ordered until its sale that is over gives it up, or another sale takes it.",
        request=schemas.ChangeSaleInput,
        responses={200: schemas.SaleBody},
        refused=STAFF_ONLY | {409: ["product_in_sale", "sale_has_opened", "sale_has_entries", "sale_closed"]},
    )
    def patch(self, request: Request, sale_id: int) -> Response:
        require_staff_permission(request, "sales.change_sale")
        sale = terms.change(sale_id=sale_id, **schemas.given_terms(read(schemas.ChangeSaleInput, request)))
        cached_lists.expire()
        return Response(schemas.sale_body(sale))


class PauseSale(SaleView):
    is_paused = True

    @extend_schema(
        operation_id="pauseSale",
        summary="Pause a sale (staff)",
        description="From this answer on no process places an order of its products, until it is resumed, "
        "and no entry is admitted. The clocks of admitted entries stop. A paused sale stays as it is.",
        request=PauseInput,
        responses={200: schemas.SaleBody},
        refused=STAFF_ONLY,
    )
    def post(self, request: Request, sale_id: int) -> Response:
        require_staff_permission(request, "sales.change_sale")
        reason = read(PauseInput, request).reason
        sale = terms.set_paused(sale_id=sale_id, is_paused=self.is_paused, reason=reason)
        cached_lists.expire()
        return Response(schemas.sale_body(sale))


@extend_schema_view(
    post=extend_schema(
        operation_id="resumeSale",
        summary="Resume a paused sale (staff)",
        description="Admitted entries have as long left as they had when it was paused. A sale that is not "
        "paused stays as it is.",
    )
)
class ResumeSale(PauseSale):
    is_paused = False


class SaleDraw(SaleView):
    permission_classes = [IsAuthenticatedOrReadOnly]

    @extend_schema(
        operation_id="getDraw",
        summary="The public values of a sale's draw",
        description="Entries that joined before the opening are in ascending order of "
        "HMAC-SHA256(`seed`, `entries_hash` + id). `seed_hash` is SHA-256 of `seed`; `entries_hash` is "
        "SHA-256 over the sorted ids of the `count` entries, with nothing between them. All hashes are "
        "lowercase hexadecimal, and are used as that text. `seed` and `entries_hash` are null before the "
        "opening.",
        responses=schemas.DrawBody,
    )
    def get(self, request: Request, sale_id: int) -> Response:
        return Response(schemas.draw_body(draw.close_if_due(terms.get(sale_id=sale_id))))


class SaleEntries(SaleView):
    limit = rate_limits.ENTRIES

    @extend_schema(
        operation_id="joinSale",
        summary="Join the waiting room of a sale",
        description="Answers with the account's entry: the same one while it waits, is admitted or is used "
        "by an order that is open or paid, and a new one at the end after it expired, or its order ended "
        "unpaid. An entry that is `over` stays so until something of the sale is on hand again. An account "
        "may also join before the opening and during a pause, when none is admitted. The room admits "
        "at an even pace, one entry each 60 / `rate_per_minute` seconds.",
        parameters=[api_doc.header("LOCATION_OF_ENTRY"), RETRY_AFTER],
        request=Nothing,
        responses={202: schemas.SaleEntryBody},
        refused={404: ["not_found"], 409: ["admission_not_required", "sale_closed"]},
    )
    @burst
    @keyed_calls.repeatable()
    async def post(self, request: Request, sale_id: int) -> JSONResponse:
        read(Nothing, request)
        if sale_id > LARGEST_ID:
            raise sale_states.no_sale(sale_id)
        join = JoinRequest(sale_id, account_id(request))
        with rate_limits.ENTRIES.counting(join.account_id, is_free=request.user.is_staff):
            entry = await submit_to_batcher(joining.JOINER, join)
        return _entry_response(entry, status=202, Location=reverse("sale-entry", args=[entry.id]))


class OneSaleEntry(SaleView):
    address_name = "sale-entry"

    @extend_schema(
        operation_id="getSaleEntry",
        summary="One entry of a waiting room",
        description="Of the caller; staff see the entries of all accounts. With `Prefer: wait=N` the answer "
        "comes once it is no longer waiting, after N seconds at most. An answer is up to two seconds old: "
        "`waiting` may come once more within two seconds of `admitted`, and then never again.",
        parameters=[api_doc.PREFER_WAIT, RETRY_AFTER],
        responses=schemas.SaleEntryBody,
    )
    @burst
    async def get(self, request: Request, entry_id: UUID) -> JSONResponse:
        sees_all = request.user.is_staff and await run_in_thread(
            has_staff_permission, request, "sales.view_saleentry", group="staff"
        )
        entry = room_view.find_waiting(entry_id)
        if entry is None:
            entry = await submit_to_batcher(joining.READER, entry_id)
        entries.require_owner(entry, None if sees_all else account_id(request))
        seconds = preferences.wait_seconds(request.header("Prefer"))
        if seconds and entry.status == Status.WAITING:

            async def has_changed() -> bool:
                nonlocal entry
                entry = await submit_to_batcher(joining.READER, entry_id)
                return entry.status != Status.WAITING

            await completion_notifications.wait(
                str(entry_id), is_settled=has_changed, seconds=seconds, owner=caller_id(request)
            )
        return _entry_response(entry)


def _listed_sales(request: Request) -> "QuerySet[Sale]":
    return terms.find(status=read_query(schemas.ListSalesQuery, request).status)


def _entry_response(entry: Entry, *, status: int = 200, **headers: str) -> JSONResponse:
    """The entry with its estimated wait, and while it waits with when to read it again."""
    estimate = room_view.estimated_wait_seconds(entry)
    body = schemas.entry_body(entry, estimate)
    if entry.status == Status.WAITING:
        if entry.ahead is None:
            seconds = ceil((entry.opens_at - clock.now()).total_seconds()) + 1
        else:
            seconds = PAUSED_SECONDS if estimate is None else estimate // POLLS_PER_WAIT
        headers["Retry-After"] = str(min(MOST_SECONDS, max(1, seconds)))
    return JSONResponse(body, status=status, headers=headers)
