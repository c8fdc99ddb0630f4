"""Mercado Pago's webhooks: verified, stored, answered; the worker does the rest."""

import logging
import re
from datetime import timedelta
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import Request, Response, post
from litestar.openapi.datastructures import ResponseSpec

from comanda.api.authentication import request_id_of
from comanda.api.replies import json_reply
from comanda.api.services import Shared
from comanda.checkout import measures
from comanda.errors import BadRequest, Unauthenticated
from comanda.http.problems import problems
from comanda.payments import webhooks
from comanda.payments.signature import SignatureRejected, verify

logger = logging.getLogger(__name__)

PAYMENT_ID = re.compile(r"[0-9]{1,18}")
"""Mercado Pago's payment ids are integers; 18 digits always fit a PostgreSQL bigint."""


Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*$")]
"""PostgreSQL cannot store NUL."""


class NotificationData(msgspec.Struct):
    """What a notification is about. Ids come as text or number."""

    id: Text | int | None = None


class Notification(msgspec.Struct):
    """The body of a webhook, as far as it is kept. Everything in it is a hint, never a fact."""

    type: Text | None = None
    action: Text | None = None
    id: Text | int | None = None
    live_mode: bool | None = None
    date_created: Text | None = None
    data: NotificationData | None = None


class Receipt(msgspec.Struct):
    """What Mercado Pago is told: that we have it, or why we do not want it."""

    outcome: str


@post(
    "/v1/webhooks/mercado-pago",
    status_code=200,
    tags=["provider"],
    summary="Mercado Pago's webhooks",
    responses={
        200: ResponseSpec(
            data_container=Receipt, description="Stored, or not ours to act on.", generate_examples=False
        ),
        **problems(401, 408, 413),
    },
)
async def receive(request: Request[Any, Any, Any], services: Shared) -> Response[bytes]:
    """Store a signed notification and answer at once; a repeated one is stored once.

    Legacy IPN and other topics are answered 200 and dropped: the one cannot be verified, the others say nothing of
    a payment, and any other answer would have Mercado Pago send them for days.
    """
    query = request.query_params
    data_id = query.get("data.id")
    if data_id is None and (query.get("topic") is not None or query.get("id") is not None):
        return _receipt("dropped_ipn")
    settings = services.checkout.settings
    try:
        place = verify(
            settings.webhook_secrets,
            header=request.headers.get("x-signature"),
            request_id=request.headers.get("x-request-id"),
            data_id=data_id,
            now=services.checkout.clock(),
            tolerance=timedelta(seconds=settings.webhook_tolerance),
        )
    except SignatureRejected as error:
        measures.WEBHOOKS.labels(f"signature_{error.reason}").inc()
        logger.warning("webhook refused", extra={"reason": str(error.reason)})
        raise Unauthenticated("the signature does not fit", code="invalid_signature") from None
    if place:
        # As long as these come, Mercado Pago has not changed over, and the secret before must stay.
        measures.WEBHOOKS_BY_PREVIOUS_SECRET.inc()
        logger.info("webhook signed with a previous secret", extra={"payment": data_id})
    body = await request.body()
    try:
        notification = msgspec.json.decode(body, type=Notification)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the body is not a notification", code="invalid_notification") from None
    if (notification.type or query.get("type")) != "payment":
        return _receipt("dropped_topic")
    named = notification.data.id if notification.data else None
    if str(named) != data_id:
        # The signature covers the query's id alone.
        measures.WEBHOOKS.labels("signature_forged").inc()
        raise Unauthenticated("query and body name different payments", code="invalid_signature")
    if data_id is None or not PAYMENT_ID.fullmatch(data_id):
        return _receipt("dropped_id")
    async with services.checkout.pool.acquire(timeout=5) as connection:
        new = await webhooks.store(
            connection,
            provider_payment_id=int(data_id),
            body=msgspec.json.encode(notification),
            request_id=request_id_of(request),
            now=services.checkout.clock(),
        )
    return _receipt("stored" if new else "repeated")


def _receipt(outcome: str) -> Response[bytes]:
    measures.WEBHOOKS.labels(outcome).inc()
    return json_reply(msgspec.json.encode(Receipt(outcome)))


HANDLERS = [receive]
