"""Every knob of Comanda, read from the environment once, at the start, and checked there.

The field `payment_timeout` is the variable `PAYMENT_TIMEOUT`. Durations are whole seconds, or milliseconds where
the name ends in `_ms`. A missing or empty secret stops the start: nothing here has a default password.
"""

import ipaddress
import re
import zoneinfo
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, TypeAlias
from urllib.parse import SplitResult, urlsplit

import msgspec

Required: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]
Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Milliseconds: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=600_000)]
Seconds: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=31_536_000)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_LABEL = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"

MINIMUM_PAYMENT_TIMEOUT = 30 * 60
"""Seconds. Mercado Pago refuses a Pix whose date_of_expiration is nearer than 30 minutes."""

MAXIMUM_PAYMENT_TIMEOUT = 29 * 24 * 3600
"""Seconds. Mercado Pago's maximum is 30 days; a day is kept for `payment_expiry_margin` and clock skew."""


BURST = re.compile(r"[1-9][0-9]{0,6}/([1-9][0-9]{0,3})?(second|minute|hour|day)s?")

IN_CLUSTER = re.compile(rf"{_LABEL}(\.{_LABEL}\.svc(\.cluster\.local)?)?")
"""Names of Kubernetes services: NAME, NAME.NAMESPACE.svc or its longer form. A bare 0x08080808 is an address."""


class SettingsError(Exception):
    """A setting is missing or wrong. The message is one line, names the variable and never shows its value."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=str.upper):
    """The settings of API and worker. See `docs/settings.md` for what each is for and when to turn it."""

    # The database.
    database_url: Required
    database_pool_size: Annotated[int, msgspec.Meta(ge=2, le=200)] = 12
    database_connect_timeout_ms: Milliseconds = 5_000
    database_statement_timeout_ms: Milliseconds = 5_000
    database_lock_timeout_ms: Milliseconds = 3_000

    # Mercado Pago.
    mercado_pago_access_token: Annotated[str, msgspec.Meta(pattern=r"^[!-~]+$")]
    mercado_pago_webhook_secret: Required
    mercado_pago_webhook_secret_previous: str = ""
    mercado_pago_base_url: Required = "https://api.mercadopago.com"
    payer_email: Annotated[str, msgspec.Meta(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s.]{2,}$", max_length=254)]
    payment_timeout: Annotated[int, msgspec.Meta(ge=MINIMUM_PAYMENT_TIMEOUT, le=MAXIMUM_PAYMENT_TIMEOUT)] = (
        MINIMUM_PAYMENT_TIMEOUT
    )
    payment_expiry_margin: Annotated[int, msgspec.Meta(ge=120, le=3600)] = 600
    provider_timeout_ms: Milliseconds = 5_000
    provider_connect_timeout_ms: Milliseconds = 2_000
    provider_connections: Count = 32
    webhook_tolerance: Seconds = 3600

    # Who we are, to the world.
    public_url: str = ""
    time_zone: str = "America/Sao_Paulo"
    trusted_proxies: str = ""

    # Doors.
    host: str = "0.0.0.0"  # noqa: S104 (a pod's network is its own)
    port: Port = 8000
    ops_host: str = "0.0.0.0"  # noqa: S104
    ops_port: Port = 9000
    drain_seconds: Annotated[int, msgspec.Meta(ge=0, le=600)] = 10
    shutdown_timeout: Seconds = 30
    request_timeout_ms: Milliseconds = 15_000
    body_timeout_ms: Milliseconds = 5_000
    header_timeout_ms: Milliseconds = 75_000
    max_body_bytes: Count = 65_536
    max_requests_in_flight: Count = 5_000
    max_streams: Count = 2_000
    max_streams_per_client: Count = 300
    stream_heartbeat_ms: Milliseconds = 15_000
    log_level: str = "INFO"

    # Limits on what guests may ask for. A diner's guests share one address, so they are generous.
    max_items: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    max_quantity: Annotated[int, msgspec.Meta(ge=1, le=999)] = 50
    max_order_cents: Count = 500_000
    max_unpaid_orders: Count = 1_000
    max_unpaid_orders_per_client: Count = 200
    order_burst: str = "30/10seconds"
    rate_limit_exempt: str = ""

    # The worker: how many at once, how often it looks when nobody rings, how soon it asks again.
    worker_concurrency: Annotated[int, msgspec.Meta(ge=1, le=100)] = 8
    worker_poll_ms: Milliseconds = 1_000
    worker_lease: Seconds = 30
    check_watched: Seconds = 5
    check_first: Seconds = 8
    check_unwatched: Seconds = 60
    check_unwatched_max: Seconds = 300
    watch_window: Seconds = 30
    retry_first: Seconds = 2
    retry_max: Seconds = 300
    forgotten_after: Seconds = 24 * 3600
    webhook_retention: Seconds = 90 * 24 * 3600
    idempotency_retention: Seconds = 24 * 3600

    def __repr__(self) -> str:
        """Show nothing: half of the fields are secrets, and logs keep what they are shown."""
        return "Settings(...)"

    @property
    def notification_url(self) -> str | None:
        """Where Mercado Pago is told to send webhooks; None without a public https address (it takes no other)."""
        if not self.public_url.startswith("https://"):
            return None
        return f"{self.public_url.rstrip('/')}/v1/webhooks/mercado-pago?source_news=webhooks"

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """What a webhook may be signed with: the secret, then those before it, which are parted by white space."""
        return (self.mercado_pago_webhook_secret, *self.mercado_pago_webhook_secret_previous.split())

    @property
    def live_mode(self) -> bool:
        """Whether real money moves: Mercado Pago's test credentials begin with `TEST-`."""
        return not self.mercado_pago_access_token.startswith("TEST-")

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        """The diner's time zone: the day of a pickup number begins at its midnight."""
        return zoneinfo.ZoneInfo(self.time_zone)

    @property
    def lease(self) -> timedelta:
        """How long a claimed row is left alone before another worker may take it."""
        return timedelta(seconds=self.worker_lease)

    @property
    def proxies(self) -> tuple[Network, ...]:
        """The networks whose X-Forwarded-For is believed."""
        return _networks(self.trusted_proxies)

    @property
    def exempt(self) -> tuple[Network, ...]:
        """The networks that meet no rate limit."""
        return _networks(self.rate_limit_exempt)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read and check the settings.

    Args:
        environment: variables by name, as in `os.environ`. An empty value counts as absent.

    Raises:
        SettingsError: a variable is missing or wrong; one line that names it and says how to mend it.
    """
    names = {field.encode_name for field in msgspec.structs.fields(Settings)}
    given = {name: value.strip() for name, value in environment.items() if name in names and value.strip()}
    for field in msgspec.structs.fields(Settings):
        if field.required and field.encode_name not in given:
            raise SettingsError(f"{field.encode_name} is not set: give it in the environment (docs/settings.md)")
    try:
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(_in_words(error)) from None
    _check(settings)
    return settings


def _in_words(error: msgspec.ValidationError) -> str:
    reason, _, path = str(error).partition(" - at `$.")
    return f"{path.rstrip('`') or 'settings'} is not valid: {reason[0].lower()}{reason[1:]}"


def _check(settings: Settings) -> None:
    database = _split(settings.database_url)
    if database is None or database.scheme not in {"postgres", "postgresql"}:
        raise SettingsError("DATABASE_URL is not valid: give postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    check_base_url("MERCADO_PAGO_BASE_URL", settings.mercado_pago_base_url)
    public = _split(settings.public_url)
    if settings.public_url and (
        public is None or public.scheme not in {"http", "https"} or not public.hostname or public.query
    ):
        raise SettingsError("PUBLIC_URL is not valid: give https://HOST, or leave it empty to poll only")
    try:
        zoneinfo.ZoneInfo(settings.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingsError("TIME_ZONE is not valid: give a name like America/Sao_Paulo") from None
    for name, value in (
        ("TRUSTED_PROXIES", settings.trusted_proxies),
        ("RATE_LIMIT_EXEMPT", settings.rate_limit_exempt),
    ):
        try:
            _networks(value)
        except ValueError:
            raise SettingsError(f"{name} is not valid: give networks like 10.0.0.0/16, by comma") from None
    if not BURST.fullmatch(settings.order_burst):
        raise SettingsError("ORDER_BURST is not valid: give a limit like 30/10seconds")
    if settings.log_level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise SettingsError("LOG_LEVEL is not valid: give DEBUG, INFO, WARNING or ERROR")
    if settings.worker_lease * 1000 <= settings.provider_timeout_ms * 3:
        # One item may ask the provider three times in a row: read back, cancel, read back.
        raise SettingsError("WORKER_LEASE is too short: give more than three times PROVIDER_TIMEOUT_MS")


def check_base_url(name: str, url: str) -> None:
    """Refuse a provider's address that would send the token in the clear.

    Raises:
        SettingsError: not an URL, or plain http to a host that is neither loopback nor a name in the cluster.
    """
    parts = _split(url)
    host = (parts.hostname or "") if parts else ""
    if parts and host and (parts.scheme == "https" or (parts.scheme == "http" and _is_near(host))):
        return
    raise SettingsError(
        f"{name} is not valid: give https://HOST; plain http is taken only for loopback and in-cluster names"
    )


def _split(url: str) -> SplitResult | None:
    """Take an URL apart; None if it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is no number
    except ValueError:
        return None
    return parts


def _is_near(host: str) -> bool:
    """Whether what is sent to this host stays on this machine or inside the cluster."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or IN_CLUSTER.fullmatch(host) is not None


@lru_cache(maxsize=16)
def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
