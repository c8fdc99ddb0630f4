"""A payment provider that answers at once: what the API waits for is left out, what it does is not.

`python -m bench.provider_stub PORT`. Every POST gets a pending Pix for what it asks, with a QR code of the usual
size; everything else gets 200 and an empty object.
"""

import asyncio
import json
import sys
from itertools import count
from typing import cast

import uvloop

from comanda_sandbox.br_code import build
from comanda_sandbox.qr_image import png_base64

CODE = build(key="diner@comanda.example.com", name="COMANDA", city="SAO PAULO", amount_cents=4200, txid="COMANDA1")
PICTURE = png_base64(CODE)
_ids = count(1_000_000_000)


class Stub(asyncio.Protocol):
    """One connection of the API's."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        begin = head.lower().find(b"\r\ncontent-length:")
        length = 0 if begin < 0 else int(head[begin + 17 :].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        body = _pending(json.loads(rest[:length])) if head.startswith(b"POST") else b"{}"
        status = b"201 Created" if head.startswith(b"POST") else b"200 OK"
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
        )


def _pending(asked: dict[str, object]) -> bytes:
    now = "2026-11-22T20:00:00.000-03:00"
    answer = {
        "id": next(_ids),
        "status": "pending",
        "status_detail": "pending_waiting_transfer",
        "external_reference": asked["external_reference"],
        "transaction_amount": asked["transaction_amount"],
        "transaction_amount_refunded": 0,
        "currency_id": "BRL",
        "live_mode": False,
        "date_created": now,
        "date_last_updated": now,
        "date_of_expiration": asked["date_of_expiration"],
        "payment_method_id": "pix",
        "payer": {"email": "guest@comanda.example.com"},
        "point_of_interaction": {"transaction_data": {"qr_code": CODE, "qr_code_base64": PICTURE}},
    }
    return json.dumps(answer).encode()


async def serve(port: int) -> None:
    """Answer until killed."""
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
