"""What Comanda knows of a payment provider: the charge it asks for and the answers that it understands.

The one implementation is `comanda.payments.mercado_pago`; this module holds no I/O, so that models, stories
and tests can name a provider's answer without naming a provider.
"""

from datetime import datetime
from uuid import UUID

import msgspec


class PixCharge(msgspec.Struct, frozen=True, kw_only=True):
    """A Pix that we want to be paid, exactly as it was stored before the provider is asked.

    `idempotency_key` is stored with the payment and is the same at every try. `expires_at` is the provider's
    own date of expiration (aware UTC), part of the stored intent: a retry must send the very same body.
    """

    payment_id: UUID
    external_reference: str
    amount_cents: int
    description: str
    payer_email: str
    expires_at: datetime
    idempotency_key: str
    notification_url: str | None = None


class ProviderPayment(msgspec.Struct, frozen=True, kw_only=True):
    """A payment as the provider tells it now. Money in centavos, times in aware UTC, statuses verbatim."""

    id: int
    status: str
    status_detail: str | None
    external_reference: str | None
    amount_cents: int
    refunded_cents: int
    currency: str
    live_mode: bool
    created_at: datetime | None = None
    approved_at: datetime | None = None
    updated_at: datetime | None = None
    expires_at: datetime | None = None
    copy_paste: str | None = None
    qr_code_png_base64: str | None = None
    notification_url: str | None = None


class ProviderPage(msgspec.Struct, frozen=True):
    """A page of what a search finds, in its order; `total` is how many there are on all pages, None if not said."""

    payments: list[ProviderPayment]
    total: int | None


class ProviderRefund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund as the provider tells it. `status` verbatim: `approved`, `in_process`, `rejected`…"""

    id: int
    payment_id: int
    amount_cents: int
    status: str
    created_at: datetime | None = None


class ProviderError(Exception):
    """The provider did not do as asked. Never carries a token, a key or a request body."""


class ProviderUnavailable(ProviderError):
    """No usable answer: whether there was an effect is unknown, and the same call with the same key is safe.

    Time-outs, refused or broken connections, 5xx, 423, 429, bodies that are not what the protocol promises,
    and 'the same request a moment ago' (2001). `retry_after` is in seconds where the provider gave one.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ProviderRefused(ProviderError):
    """A clear no (4xx): the same call again will be refused again.

    `status` is the HTTP status, `code` the provider's first cause code as text, if there was one.
    """

    def __init__(self, status: int, code: str | None, message: str) -> None:
        super().__init__(f"{status} {code or '-'}: {message}")
        self.status = status
        self.code = code


class ProviderDenied(ProviderRefused):
    """The provider refuses us, not the call (401, 403): our token or account is wrong, an operator acts."""
