"""Webhook deliveries as they are, and when each is tried again. No I/O."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

# How long after each failed attempt the next one follows, on Mercado Pago's clock; then it gives up.
RETRY_SCHEDULE = (
    timedelta(minutes=15),
    timedelta(minutes=30),
    timedelta(hours=6),
    timedelta(hours=48),
    timedelta(hours=96),
    timedelta(hours=96),
    timedelta(hours=96),
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notification on its way to one address.

    Args:
        id: the notification's own id, the body's root ``id``.
        payment_id: the payment that it was made for.
        kind: ``webhook``, or a legacy ``ipn`` or ``merchant_order`` message.
        action: ``payment.created`` or ``payment.updated``.
        flavour: ``true``, or the fault that made it.
        url: where it goes, without the query that a delivery adds.
        data_id: the payment's id in the query string, which the signature covers.
        body_data_id: the payment's id in the body.
        signature: ``true``, ``wrong_secret``, ``garbled`` or ``missing``.
        seconds_ts: sign with a time in seconds rather than milliseconds.
        text_id: write the root id as a string.
        replay_of: the delivery whose very bytes and headers this one repeats, once that one has arrived.
        waits_for_next: held back until a later one for the same payment has been tried.
        attempts_to_lose: how many attempts get lost on the way.
        state: ``pending``, ``delivered``, ``given_up`` or ``never`` (meant never to come).
        due_at: when it is tried next; None while it waits for another one.
        sent_ts: the signed time of the last attempt. ``sent_request_id`` likewise.
        last_result: what the last attempt met: a status or a fault of the network.
    """

    id: int
    payment_id: int
    kind: str
    action: str
    flavour: str
    url: str
    data_id: str
    body_data_id: str
    signature: str
    seconds_ts: bool
    text_id: bool
    replay_of: int | None
    waits_for_next: bool
    attempts_to_lose: int
    created_at: datetime
    due_at: datetime | None
    state: str
    attempts: int
    sent_ts: str | None
    sent_request_id: str | None
    last_result: str | None

    @property
    def true(self) -> bool:
        """Whether it is what Mercado Pago itself would send, and try again."""
        return self.flavour == "true"


def attempted(delivery: Delivery, now: datetime, *, result: str, scale: float) -> Delivery:
    """The delivery after an attempt.

    Args:
        result: the answer's status code as text, or what went wrong.
        scale: how many times faster than Mercado Pago's clock the schedule runs.
    """
    after = replace(delivery, attempts=delivery.attempts + 1, last_result=result)
    if result in {"200", "201"}:
        return replace(after, state="delivered", due_at=None)
    # Nobody tries a forged or repeated message a second time: they show what one of them does.
    if not delivery.true or delivery.attempts >= len(RETRY_SCHEDULE):
        return replace(after, state="given_up", due_at=None)
    return replace(after, due_at=now + RETRY_SCHEDULE[delivery.attempts] / scale)
