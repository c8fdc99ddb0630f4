"""Mercado Pago's webhook signature, as the sender makes it."""

import hashlib
import hmac


def sign(*, secret: str, data_id: str, request_id: str, ts: str) -> str:
    """The lower-case hexadecimal HMAC-SHA256 over ``id:…;request-id:…;ts:…;``.

    Args:
        secret: the application's webhook secret, used as raw bytes.
        data_id: ``data.id`` of the query string.
        request_id: the ``x-request-id`` header.
        ts: the time as it stands in the header, milliseconds or seconds.
    """
    manifest = f"id:{data_id};request-id:{request_id};ts:{ts};"
    return hmac.new(secret.encode(), manifest.encode(), hashlib.sha256).hexdigest()
