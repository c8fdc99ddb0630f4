"""Webhooks in PostgreSQL: stored before they are answered, claimed by workers, kept for a while.

A notification means one thing: ask the provider about this payment. So one that waits stands for all that arrive
meanwhile; one that a worker has already taken does not, since the worker may have asked before the change.
"""

from datetime import datetime

import msgspec

from comanda.database.pool import Connection

INSERT = """
WITH stored AS (
    INSERT INTO webhook_events (provider_payment_id, status, body, request_id, received_at, next_attempt_at)
    VALUES ($1, 'waiting', $2::jsonb, $3, $4, $4)
    ON CONFLICT (provider_payment_id) WHERE status = 'waiting'
        DO UPDATE SET deliveries = webhook_events.deliveries + 1, next_attempt_at = EXCLUDED.next_attempt_at
    RETURNING deliveries
)
SELECT deliveries, pg_notify('comanda_work', 'webhooks') FROM stored
"""

# One that waits is due whatever the clock says: the pod that stored it may be ahead of the worker.
CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id FROM webhook_events
    WHERE status = 'waiting' OR (status = 'claimed' AND next_attempt_at <= $1)
    ORDER BY next_attempt_at LIMIT $3 FOR UPDATE SKIP LOCKED)
UPDATE webhook_events AS event SET status = 'claimed', next_attempt_at = $2, attempts = attempts + 1
FROM due WHERE event.id = due.id
RETURNING event.id, provider_payment_id, request_id, attempts, received_at,
          (deliveries = 1 AND body->>'action' = 'payment.created') IS TRUE AS announces
"""


class WebhookEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A stored notification, as far as handling needs it.

    `announces` if it says of itself that the payment was made just now: then nothing new need have happened to it.
    """

    id: int
    provider_payment_id: int
    request_id: str | None
    attempts: int
    received_at: datetime
    announces: bool


async def store(
    connection: Connection, *, provider_payment_id: int, body: bytes, request_id: str, now: datetime
) -> bool:
    """Store a verified notification and ring for the worker.

    Args:
        body: the notification's JSON, already checked to be an object without NUL characters.

    Returns:
        Whether it is new; False if one for the same payment was waiting already.
    """
    deliveries: int = await connection.fetchval(INSERT, provider_payment_id, body.decode(), request_id, now)
    return deliveries == 1


async def claim_due(connection: Connection, *, now: datetime, lease_until: datetime, limit: int) -> list[WebhookEvent]:
    """Take events that wait, or whose worker let the lease run out. In the order in which they came."""
    claimed = [WebhookEvent(**row) for row in await connection.fetch(CLAIM, now, lease_until, limit)]
    return sorted(claimed, key=lambda event: event.id)


async def finish(connection: Connection, event_id: int, *, outcome: str, now: datetime) -> None:
    """Stamp an event as handled. Called in the transaction that applied it, where there was one."""
    await connection.execute(
        """
        UPDATE webhook_events SET status = 'handled', outcome = $2, handled_at = $3, next_attempt_at = NULL
        WHERE id = $1 AND status <> 'handled'
        """,
        event_id,
        outcome,
        now,
    )


async def retry(connection: Connection, event_id: int, *, at: datetime) -> bool:
    """Leave an event for later; answer False if it is handled. It stays claimed: a newer one gets its own row."""
    waits = await connection.fetchval(
        "UPDATE webhook_events SET next_attempt_at = $2 WHERE id = $1 AND status = 'claimed' RETURNING true",
        event_id,
        at,
    )
    return waits is not None


async def forget_handled(connection: Connection, *, before: datetime, limit: int = 1000) -> int:
    """Delete events handled before a moment, at most `limit`; answer how many."""
    gone = await connection.fetch(
        """
        DELETE FROM webhook_events WHERE id IN (
            SELECT id FROM webhook_events WHERE status = 'handled' AND handled_at < $1 LIMIT $2)
        RETURNING id
        """,
        before,
        limit,
    )
    return len(gone)
