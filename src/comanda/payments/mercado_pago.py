"""Mercado Pago's Payments API, asked for Pix: one call is one method, one request and one measured outcome.

Nothing is retried here: whether, when and with which stored key to ask again is for the stories to decide.
(Below us, aiohttp sends a GET or PUT once more when the connection breaks before an answer, as RFC 9110 9.2.2
allows; never a POST.) Paths, headers and codes are those of Mercado Pago's reference and its official SDKs.
"""

import email.utils
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType

import aiohttp
from yarl import URL

from comanda.payments import mercado_pago_wire as wire
from comanda.payments.provider import (
    PixCharge,
    ProviderDenied,
    ProviderPage,
    ProviderPayment,
    ProviderRefund,
    ProviderRefused,
    ProviderUnavailable,
)
from comanda.payments.provider_calls import measured

MAXIMUM_ANSWER_BYTES = 1024 * 1024
"""A payment with its QR is about 10 kB; a page of thirty of them fits."""

MAXIMUM_RETRY_AFTER = 600.0
"""Seconds. A guest is waiting: whatever the provider says, we ask again within ten minutes."""

SAME_REQUEST_PAUSE = 60.0
"""Seconds. Code 2001 is 'the same request within the last minute'."""

SEARCH_BEGIN = "NOW-31DAYS"
"""A Pix lives for 30 days at most, so one that can still be paid is younger."""

CHANGED_PAGE = 50
"""Payments on a page of `search_changed`: half of what MAXIMUM_ANSWER_BYTES has room for."""

MAXIMUM_OFFSET = 10_000
"""How deep Mercado Pago's search pages."""

# 408 and 425 are said by what stands in front of the provider, of a request that was not taken in.
UNAVAILABLE_STATUSES = frozenset({408, 423, 425, 429})


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
        with measured("create_pix"):
            headers = {"X-Idempotency-Key": charge.idempotency_key}
            _, body = await self._exchange("POST", self._payments, headers, request_id, body=wire.write_charge(charge))
            return wire.read_payment(body)

    async def get_payment(self, payment_id: int, *, request_id: str | None = None) -> ProviderPayment | None:
        """Read a payment as it is now; None if there is none, as may be said just after it was created."""
        try:
            with measured("get_payment"):
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
        with measured("search_payments"):
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
            ours = [payment for payment in found.payments if payment.external_reference == external_reference]
            return sorted(ours, key=_age, reverse=True)

    async def search_changed(
        self, since: datetime, *, offset: int, made: bool = False, request_id: str | None = None
    ) -> ProviderPage:
        """Find a page of the account's payments that were made or changed at `since` or later, oldest first.

        Sorted by when they were made, which never changes, and without an end: what changes while one pages only joins
        the pages and so moves others to later ones. Nothing is passed over; something may be seen twice. What was made
        or changed in the last moments may be missing: the provider's index lags.

        Args:
            since: aware; a payment that was made later was changed later too.
            offset: how many to pass over, `MAXIMUM_OFFSET` at most.
            made: only what was made since then, to go on from the last one that an offset reaches.
        """
        with measured("search_payments"):
            url = (self._payments / "search").with_query(
                {
                    "sort": "date_created",
                    "criteria": "asc",
                    "range": "date_created" if made else "date_last_updated",
                    "begin_date": wire.write_moment(since),
                    "end_date": "NOW",
                    "limit": str(CHANGED_PAGE),
                    "offset": str(offset),
                }
            )
            _, body = await self._exchange("GET", url, {}, request_id)
            return wire.read_search(body)

    async def cancel_payment(
        self, payment_id: int, *, idempotency_key: str, request_id: str | None = None
    ) -> ProviderPayment:
        """Cancel what is pending or in process. Refused (2063, 3005) in another state: read it again."""
        with measured("cancel_payment"):
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
        with measured("create_refund"):
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
        with measured("list_refunds"):
            url = self._payments / str(payment_id) / "refunds"
            _, body = await self._exchange("GET", url, {}, request_id)
            refunds = [_same_refund(refund, payment_id) for refund in wire.read_refunds(body)]
            return sorted(refunds, key=lambda refund: refund.id)

    async def get_refund(
        self, payment_id: int, refund_id: int, *, request_id: str | None = None
    ) -> ProviderRefund | None:
        """Read a refund as it is now; None if the provider knows none."""
        try:
            with measured("get_refund"):
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
