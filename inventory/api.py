"""The HTTP edge of products and stock."""

from contextlib import nullcontext
from functools import partial

from django.db import DEFAULT_DB_ALIAS, connections
from drf_spectacular.utils import extend_schema_view
from rest_framework.permissions import IsAuthenticatedOrReadOnly

from foundation.db import secondary
from foundation.db.mysql.patience import statement_limit
from foundation.http import cached_lists, json_format, keyed_calls
from foundation.http.openapi import api_doc
from foundation.http.openapi.api_doc import STAFF_ONLY, extend_schema
from foundation.http.pagination import paginate, paginate_for_staff
from foundation.http.permissions import has_staff_permission, require_staff_permission
from foundation.http.validation import PauseInput, body, changes, read, read_query
from foundation.http.views import JSONResponse, Request, Response, View, burst
from foundation.idempotency import recorded_answers
from foundation.scopes import Resource
from inventory import adjustments, products, ranking, schemas

SEARCH_SECONDS = 1
"""For the statement of a search; after it the server itself ends the statement."""


class ProductView(View):
    resource = Resource.PRODUCTS


class Products(ProductView):
    permission_classes = [IsAuthenticatedOrReadOnly]

    @extend_schema(
        operation_id="listProducts",
        summary="Find products",
        description="Staff see inactive ones too. With `availability` alone a page looks at 20,000 products "
        "at most: it may have fewer results than `limit`, or none, while `next` leads on. "
        + api_doc.CACHED_LIST,
        parameters=[api_doc.IF_NONE_MATCH, api_doc.ETAG],
        query=[schemas.FindProductsQuery],
        page_of=schemas.ProductBody,
        responses={304: api_doc.NOT_MODIFIED},
    )
    @burst
    async def get(self, request: Request) -> JSONResponse:
        return await cached_lists.respond(request, customers=_products_of_customers, staff=_products_of_staff)

    @extend_schema(
        operation_id="createProduct",
        summary="Create a product (staff)",
        parameters=[api_doc.LOCATION],
        request=schemas.CreateProductInput,
        responses={201: schemas.ProductBody},
        refused=STAFF_ONLY | {409: ["sku_exists"]},
    )
    def post(self, request: Request) -> Response:
        """With nothing in stock: adjust that next."""
        require_staff_permission(request, "inventory.add_product")
        product = products.create(**read(schemas.CreateProductInput, request).model_dump())
        cached_lists.expire()
        address = f"{request.path}/{product.id}"
        return Response(schemas.product_body(product), status=201, headers={"Location": address})


class PopularProducts(ProductView):
    permission_classes = [IsAuthenticatedOrReadOnly]

    @extend_schema(
        operation_id="rankProducts",
        summary="Popular products",
        description="The active products that sold most, by units paid less units refunded, on a day and so "
        "many days before it, in the shop's time zone. Products of which nothing is left of that are not in "
        "it; of equals the one with the smaller `id` comes first. It is 5 seconds behind payments at most.",
        query=[schemas.RankingQuery],
        responses=schemas.RankingBody,
    )
    def get(self, request: Request) -> Response:
        query = read_query(schemas.RankingQuery, request)
        found = ranking.read(days=query.days, limit=query.limit, last=query.date)
        return Response(schemas.ranking_body(found, days=query.days))


class OneProduct(ProductView):
    permission_classes = [IsAuthenticatedOrReadOnly]

    @extend_schema(
        operation_id="getProduct",
        summary="One product",
        description="An inactive product is 404 for everyone but staff.",
        responses=schemas.ProductBody,
    )
    def get(self, request: Request, product_id: int) -> Response:
        product = products.get(
            product_id=product_id, include_inactive=has_staff_permission(request, "inventory.view_product")
        )
        return Response(schemas.product_body(product))

    @extend_schema(
        operation_id="updateProduct",
        summary="Change a product (staff)",
        request=schemas.ChangeProductInput,
        responses={200: schemas.ProductBody},
        refused={403: ["approval_required", "permission_denied"], 409: ["sku_exists"]},
    )
    def patch(self, request: Request, product_id: int) -> Response:
        """Orders keep the name and price they were placed at."""
        require_staff_permission(request, "inventory.change_product")
        product = products.change(product_id=product_id, **changes(read(schemas.ChangeProductInput, request)))
        cached_lists.expire()
        return Response(schemas.product_body(product))


class PauseProduct(ProductView):
    is_paused = True

    @extend_schema(
        operation_id="pauseProduct",
        summary="Pause a product (staff)",
        description="From this answer on no process places an order of it, until it is resumed: "
        "`POST /orders` is 409 `product_paused`. Orders that are placed already go on. A paused product "
        "stays as it is.",
        request=PauseInput,
        responses={200: schemas.ProductBody},
        refused=STAFF_ONLY,
    )
    def post(self, request: Request, product_id: int) -> Response:
        require_staff_permission(request, "inventory.change_product")
        reason = read(PauseInput, request).reason
        product = products.set_paused(product_id=product_id, is_paused=self.is_paused, reason=reason)
        cached_lists.expire()
        return Response(schemas.product_body(product))


@extend_schema_view(
    post=extend_schema(
        operation_id="resumeProduct",
        summary="Resume a paused product (staff)",
        description="It can be ordered again, if it is active and in stock. A product that is not paused "
        "stays as it is.",
    )
)
class ResumeProduct(PauseProduct):
    is_paused = False


class StockAdjustments(ProductView):
    @extend_schema(
        operation_id="adjustStock",
        summary="Adjust what is on hand (staff)",
        parameters=[api_doc.IDEMPOTENCY_KEY],
        request=schemas.AdjustStockInput,
        responses={201: schemas.StockMovementBody},
        refused=STAFF_ONLY | {409: ["insufficient_stock"]},
    )
    def post(self, request: Request, product_id: int) -> JSONResponse:
        """By a difference, which can't cut into what unpaid orders hold: 409 `insufficient_stock`."""
        staff_id = require_staff_permission(request, "inventory.add_stockmovement")
        call = keyed_calls.read_keyed_call(
            request,
            lambda moved: recorded_answers.Answer(201, json_format.dump(schemas.movement_body(moved))),
            owner_id=staff_id,
        )
        data = read(schemas.AdjustStockInput, request)
        adjust = partial(adjustments.adjust, product_id=product_id, delta=data.delta, reason=data.reason)
        outcome = keyed_calls.perform_blocking(call, lambda: recorded_answers.run_once(call, adjust))
        cached_lists.expire()
        return keyed_calls.respond_recorded(call, outcome)


class Stock(ProductView):
    @extend_schema(
        operation_id="getStock",
        summary="A product's stock (staff)",
        responses={200: schemas.StockBody},
        refused=STAFF_ONLY,
    )
    def get(self, request: Request, product_id: int) -> Response:
        """What is on hand, and how much of it unpaid orders hold."""
        require_staff_permission(request, "inventory.view_product")
        return Response(body(schemas.StockBody, products.get(product_id=product_id, include_inactive=True)))


class StockMovements(ProductView):
    @extend_schema(
        operation_id="listStockMovements",
        summary="The movements of a product's stock, newest first (staff)",
        page_of=schemas.StockMovementBody,
        refused=STAFF_ONLY,
    )
    def get(self, request: Request, product_id: int) -> Response:
        """Each change of what is on hand; what is reserved is not moved."""
        require_staff_permission(request, "inventory.view_stockmovement")
        product = products.get(product_id=product_id, include_inactive=True)
        return paginate_for_staff(request, product.movements.all(), schemas.movement_body)


def _products_of_customers(request: Request) -> Response:
    return _page(request, include_inactive=False)


def _products_of_staff(request: Request) -> Response:
    if not has_staff_permission(request, "inventory.view_product"):
        return _products_of_customers(request)
    return secondary.read(partial(_page, request, include_inactive=True))


def _page(request: Request, database: str = DEFAULT_DB_ALIAS, *, include_inactive: bool) -> Response:
    query = read_query(schemas.FindProductsQuery, request)
    found = products.find(
        sku=query.sku,
        search=query.search,
        with_availability=query.availability,
        include_inactive=include_inactive,
    )
    # The stock is in no index, because each order would change it.
    is_bounded = query.availability is not None and not (query.sku or query.search)
    limit = statement_limit(connections[database], seconds=SEARCH_SECONDS) if query.search else nullcontext()
    with limit:
        return paginate(request, found.using(database), schemas.product_body, is_bounded=is_bounded)
