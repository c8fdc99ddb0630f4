"""A plain caller of the sandbox's HTTP: no client of ours, so that the two are not wrong together."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec

EMAIL = "lanchonete@comanda.com.br"
_DECODER = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(frozen=True)
class Answer:
    """What came back; amounts in ``json`` are Decimals."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return _DECODER.decode(self.body)

    @property
    def code(self) -> Any:
        """The first cause's code."""
        return self.json["cause"][0]["code"]


@dataclass
class Caller:
    """Calls one sandbox."""

    session: aiohttp.ClientSession
    url: str
    token: str
    keys: int = 0

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = None,
        timeout: float = 10,
    ) -> Answer:
        """Send a request; ``body`` goes as JSON, ``data`` as it is."""
        sent = {"Authorization": f"Bearer {token or self.token}", **(headers or {})}
        if body is not None:
            data = msgspec.json.encode(body)
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(
            method,
            self.url + path,
            data=data,
            headers=sent,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout),
            skip_auto_headers=["Content-Type"],
        ) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.read())

    def key(self) -> str:
        """An idempotency key of its own."""
        self.keys += 1
        return f"key-{self.keys}"

    async def create(
        self, *, key: str | None = None, timeout: float = 10, leave_out: str = "", **fields: Any
    ) -> Answer:
        """POST a good payment of R$ 25.90, changed as said."""
        body = {
            "transaction_amount": 25.9,
            "payment_method_id": "pix",
            "payer": {"email": EMAIL},
            "external_reference": "order-1",
            **fields,
        }
        body.pop(leave_out, None)
        headers = {"X-Idempotency-Key": key or self.key()}
        return await self.call("POST", "/v1/payments", body=body, headers=headers, timeout=timeout)

    async def created(self, **fields: Any) -> int:
        """A new payment's id."""
        answer = await self.create(**fields)
        assert answer.status == 201, answer.body
        return int(answer.json["id"])

    async def get(self, payment_id: int, timeout: float = 10) -> Answer:
        """GET a payment."""
        return await self.call("GET", f"/v1/payments/{payment_id}", timeout=timeout)

    async def cancel(self, payment_id: int) -> Answer:
        """Cancel a payment."""
        return await self.call("PUT", f"/v1/payments/{payment_id}", body={"status": "cancelled"})

    async def refund(
        self,
        payment_id: int,
        amount: float | None = None,
        *,
        key: str | None = None,
        in_process: bool = True,
        body: Any = None,
    ) -> Answer:
        """Refund a payment, whole or in part."""
        headers = {"X-Idempotency-Key": key or self.key()}
        if in_process:
            headers["X-Render-In-Process-Refunds"] = "true"
        body = {"amount": amount} if amount is not None else body
        return await self.call("POST", f"/v1/payments/{payment_id}/refunds", body=body, headers=headers)

    async def search(self, **query: str | int) -> Answer:
        """Search payments."""
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return await self.call("GET", f"/v1/payments/search?{text}")
