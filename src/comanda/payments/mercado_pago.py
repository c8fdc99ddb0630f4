"""Mercado Pago's Payments API, asked for Pix: one call is one method, one request and one measured outcome.

Nothing is retried here: whether, when and with which stored key to ask again is for the stories to decide.
(Below us, aiohttp sends a GET or PUT once more when the connection breaks before an answer, as RFC 9110 9.2.2
allows; never a POST.) Paths, headers and codes are those of Mercado Pago's reference and its official SDKs.
"""

import asyncio
import email.utils
from collections.abc import Mapping
from datetime import UTC, datetime
from time import perf_counter
from types import TracebackType

import aiohttp
from prometheus_client import Counter, Histogram
from yarl import URL

from comanda.payments import mercado_pago_wire as wire
from comanda.payments.provider import (
    PixCharge,
    ProviderDenied,
    ProviderPayment,
    ProviderRefund,
    ProviderRefused,
    ProviderUnavailable,
)

MAXIMUM_ANSWER_BYTES = 1024 * 1024
"""A payment with its QR is about 10 kB; a page of thirty of them fits."""

MAXIMUM_RETRY_AFTER = 600.0
"""Seconds. A guest is waiting: whatever the provider says, we ask again within ten minutes."""

SAME_REQUEST_PAUSE = 60.0
"""Seconds. Code 2001 is 'the same request within the last minute'."""

SEARCH_BEGIN = "NOW-31DAYS"
"""A Pix lives for 30 days at most, so one that can still be paid is younger."""

# 408 and 425 are said by what stands in front of the provider, of a request that was not taken in.
UNAVAILABLE_STATUSES = frozenset({408, 423, 425, 429})

request_duration_seconds = Histogram(
    "comanda_provider_request_duration_seconds",
    "Time from asking the payment provider to its answer read, or to giving up.",
    ["operation"],
    buckets=(0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0),
)
requests_total = Counter(
    "comanda_provider_requests_total",
    "Calls to the payment provider by outcome: ok, missing (404), refused, denied, unavailable,"
    " abandoned (we stopped waiting) or failed (a fault of ours).",
    ["operation", "outcome"],
)
OPERATIONS = (
    "create_pix",
    "get_payment",
    "search_payments",
    "cancel_payment",
    "create_refund",
    "list_refunds",
    "get_refund",
)
OUTCOMES = ("ok", "missing", "refused", "denied", "unavailable", "abandoned", "failed")
# Made now, so that every series is there from the start, at zero, and no call pays for looking them up.
_durations = {operation: request_duration_seconds.labels(operation) for operation in OPERATIONS}
_counters = {
    (operation, outcome): requests_total.labels(operation, outcome) for operation in OPERATIONS for outcome in OUTCOMES
}


class MercadoPago:
    """A client of one account, on one pool of connections. Open it inside the event loop that uses it.

    Every method takes `request_id`, sent as `X-Request-Id` to find the call in both sides' logs, and raises:

    * `ProviderUnavailable`: no usable answer, by a time-out, a broken connection, 5xx, 408, 423, 425, 429, a
      redirect, or a body that is too large or not as documented. The call may have had its effect. So may one
      refused with code 2001 ('the same request a moment ago'), which therefore is told this way too.
    * `ProviderRefused`: any other 4xx. `ProviderDenied`: 401 or 403.

    No message carries the token, a body or a QR code.
    """

    def __init__(
        self,
        *,
        base_url: str,
        access_token: str,
        timeout: float = 8.0,
        connect_timeout: float = 2.0,
        connections: int = 32,
        user_agent: str = "comanda",
    ) -> None:
        """Set up without connecting.

        Args:
            base_url: `https://api.mercadopago.com`, or where its look-alike stands; a path in it is kept.
            access_token: the account's token; goes into the header and nowhere else.
            timeout: seconds for a whole call, from waiting for a connection to the last byte of the answer.
            connect_timeout: seconds of these to get a connection, a free place in the pool included.
            connections: how many calls are on the way at once; further ones wait for a place.
            user_agent: who we are, to the provider.
        """
        self._payments = URL(f"{base_url.rstrip('/')}/v1/payments")
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=connect_timeout)
        self._connections = connections
        self._headers = {
            "Authorization": f"Bearer {access_token}",
            "Accept": "application/json",
            # Uncompressed: a QR's base64 is not worth the time, and a small answer cannot become a large one.
            "Accept-Encoding": "identity",
            "User-Agent": user_agent,
        }
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the pool of connections. Connects only when first asked something."""
        if self._session is not None:
            raise RuntimeError("the provider's client is open already")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=self._timeout,
            headers=self._headers,
            # A cookie would tie calls together that must not know of each other.
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close the pool; calls on their way end as `ProviderUnavailable`. Again is nothing."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> "MercadoPago":
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def create_pix(self, charge: PixCharge, *, request_id: str | None = None) -> ProviderPayment:
        """Ask for a Pix. The charge's own key makes a second try give the first one's payment."""
        with _measured("create_pix"):
            headers = {"X-Idempotency-Key": charge.idempotency_key}
            _, body = await self._exchange("POST", self._payments, headers, request_id, body=wire.write_charge(charge))
            return wire.read_payment(body)

    async def get_payment(self, payment_id: int, *, request_id: str | None = None) -> ProviderPayment | None:
        """Read a payment as it is now; None if there is none, as may be said just after it was created."""
        try:
            with _measured("get_payment"):
                _, body = await self._exchange("GET", self._payments / str(payment_id), {}, request_id)
                return _same_payment(wire.read_payment(body), payment_id)
        except ProviderRefused as refused:
            if refused.status == 404:
                return None
            raise

    async def search_payments(self, external_reference: str, *, request_id: str | None = None) -> list[ProviderPayment]:
        """Find the payments of one order, newest first. None found is no proof: the provider's index lags.

        Only the first page is read. What has another reference is left out, should the filter be ignored.
        """
        with _measured("search_payments"):
            url = (self._payments / "search").with_query(
                {
                    "external_reference": external_reference,
                    "sort": "date_created",
                    "criteria": "desc",
                    "range": "date_created",
                    "begin_date": SEARCH_BEGIN,
                    "end_date": "NOW",
                }
            )
            _, body = await self._exchange("GET", url, {}, request_id)
            found = wire.read_search(body)
            ours = [payment for payment in found if payment.external_reference == external_reference]
            return sorted(ours, key=_age, reverse=True)

    async def cancel_payment(
        self, payment_id: int, *, idempotency_key: str, request_id: str | None = None
    ) -> ProviderPayment:
        """Cancel what is pending or in process. Refused (2063, 3005) in another state: read it again."""
        with _measured("cancel_payment"):
            _, body = await self._exchange(
                "PUT",
                self._payments / str(payment_id),
                {"X-Idempotency-Key": idempotency_key},
                request_id,
                body=wire.CANCELLATION,
            )
            return _same_payment(wire.read_payment(body), payment_id)

    async def create_refund(
        self,
        payment_id: int,
        *,
        amount_cents: int | None,
        idempotency_key: str,
        request_id: str | None = None,
    ) -> ProviderRefund | None:
        """Give money back: `amount_cents` centavos, or None for all that is left.

        The answer's status may be `in_process` for a while. None: this key's refund was made before and the
        provider says no more of it; find it by `list_refunds`. Refused with 2063 (state), 2017 (too much).
        """
        with _measured("create_refund"):
            headers = {
                "X-Idempotency-Key": idempotency_key,
                # Without it a refund that waits in contingency is answered 400, although it is under way.
                "X-Render-In-Process-Refunds": "true",
            }
            status, body = await self._exchange(
                "POST",
                self._payments / str(payment_id) / "refunds",
                headers,
                request_id,
                body=None if amount_cents is None else wire.write_refund(amount_cents),
            )
            if status == 200 and not body.strip():
                return None
            return _same_refund(wire.read_refund(body), payment_id)

    async def list_refunds(self, payment_id: int, *, request_id: str | None = None) -> list[ProviderRefund]:
        """List a payment's refunds, oldest first as ids grow. Refused (404) without such a payment."""
        with _measured("list_refunds"):
            url = self._payments / str(payment_id) / "refunds"
            _, body = await self._exchange("GET", url, {}, request_id)
            refunds = [_same_refund(refund, payment_id) for refund in wire.read_refunds(body)]
            return sorted(refunds, key=lambda refund: refund.id)

    async def get_refund(
        self, payment_id: int, refund_id: int, *, request_id: str | None = None
    ) -> ProviderRefund | None:
        """Read a refund as it is now; None if the provider knows none."""
        try:
            with _measured("get_refund"):
                url = self._payments / str(payment_id) / "refunds" / str(refund_id)
                _, body = await self._exchange("GET", url, {}, request_id)
                refund = _same_refund(wire.read_refund(body), payment_id)
                if refund.id != refund_id:
                    raise ProviderUnavailable("the answer is about another refund")
                return refund
        except ProviderRefused as refused:
            if refused.status == 404:
                return None
            raise

    async def _exchange(
        self,
        method: str,
        url: URL,
        headers: dict[str, str],
        request_id: str | None,
        *,
        body: bytes | None = None,
    ) -> tuple[int, bytes]:
        """Ask once and answer with the status (200 or 201) and the body; anything else is raised."""
        if self._session is None:
            raise RuntimeError("the provider's client is not open")
        if request_id is not None:
            headers["X-Request-Id"] = request_id
        if method != "GET":
            # Said of an empty body too, as the official SDKs do; aiohttp would else call it an octet-stream.
            headers["Content-Type"] = "application/json"
        # Raised 'from None' throughout: aiohttp's errors hold the request, and with it the token.
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                content = await _read_bounded(response)
        except aiohttp.ConnectionTimeoutError:
            raise ProviderUnavailable("no connection in time") from None
        except TimeoutError:
            raise ProviderUnavailable("no answer in time") from None
        except aiohttp.ClientConnectorError as error:
            reason = error.os_error.strerror or type(error.os_error).__name__
            raise ProviderUnavailable(f"no connection: {reason}") from None
        except aiohttp.ClientError as error:
            raise ProviderUnavailable(f"no answer: {type(error).__name__}") from None
        if response.status in {200, 201}:
            return response.status, content
        raise self._refusal(response.status, response.headers, content)

    def _refusal(
        self, status: int, headers: Mapping[str, str], content: bytes
    ) -> ProviderUnavailable | ProviderRefused:
        if status < 400:
            return ProviderUnavailable(f"an answer that was not asked for: {status}")
        if status >= 500 or status in UNAVAILABLE_STATUSES:
            return ProviderUnavailable(f"the provider answers {status}", _retry_after(headers))
        code, reason = wire.read_refusal(content)
        if code == "2001":
            pause = _retry_after(headers)
            return ProviderUnavailable(f"{status} 2001: {reason}", SAME_REQUEST_PAUSE if pause is None else pause)
        if status in {401, 403}:
            return ProviderDenied(status, code, reason)
        return ProviderRefused(status, code, reason)


class _measured:  # noqa: N801 (read as `with _measured(...)`)
    """Count a call's outcome and its time, whatever they are."""

    __slots__ = ("_operation", "_started")

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        self._started = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _durations[self._operation].observe(perf_counter() - self._started)
        _counters[self._operation, _outcome(error)].inc()


def _outcome(error: BaseException | None) -> str:
    match error:
        case None:
            return "ok"
        case ProviderUnavailable():
            return "unavailable"
        case ProviderDenied():
            return "denied"
        case ProviderRefused():
            return "missing" if error.status == 404 else "refused"
        case asyncio.CancelledError():
            return "abandoned"
        case _:
            return "failed"


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    chunks = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAXIMUM_ANSWER_BYTES:
            # Leaving with bytes unread closes the connection instead of giving it back.
            raise ProviderUnavailable("the answer is too large")
        chunks.append(chunk)
    return b"".join(chunks)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After (RFC 9110 10.2.3), seconds or a date, as seconds from now between 0 and the cap."""
    told = headers.get("Retry-After", "").strip()
    if told.isascii() and told.isdigit():
        # Compared as a float: a number of a thousand digits is a long time, not an error.
        return min(float(told), MAXIMUM_RETRY_AFTER)
    try:
        until = email.utils.parsedate_to_datetime(told)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - datetime.now(UTC)).total_seconds(), 0.0), MAXIMUM_RETRY_AFTER)


def _same_payment(payment: ProviderPayment, payment_id: int) -> ProviderPayment:
    if payment.id != payment_id:
        raise ProviderUnavailable("the answer is about another payment")
    return payment


def _same_refund(refund: ProviderRefund, payment_id: int) -> ProviderRefund:
    if refund.payment_id != payment_id:
        raise ProviderUnavailable("the answer is about another payment's refund")
    return refund


def _age(payment: ProviderPayment) -> tuple[datetime, int]:
    return payment.created_at or datetime.min.replace(tzinfo=UTC), payment.id
