"""What API and worker have in common as processes: signals, ports, and the wait for their database."""

import asyncio
import ipaddress
import logging
import random
import signal
import socket

import asyncpg
from aiohttp import web

from comanda import __version__
from comanda.database.migrate import current
from comanda.database.pool import OUTAGES, Pool, close_pool, open_pool
from comanda.http.ops import Readiness, serve_ops
from comanda.payments.mercado_pago import MercadoPago
from comanda.settings import Settings, SettingsError

logger = logging.getLogger(__name__)


class ProcessError(Exception):
    """This process cannot start or go on. The message is one line, with the mend."""


def make_provider(settings: Settings) -> MercadoPago:
    """Build the provider's client from the settings; not opened yet."""
    return MercadoPago(
        base_url=settings.mercado_pago_base_url,
        access_token=settings.mercado_pago_access_token,
        timeout=settings.provider_timeout_ms / 1000,
        connect_timeout=settings.provider_connect_timeout_ms / 1000,
        connections=settings.provider_connections,
        user_agent=f"comanda/{__version__}",
    )


def stop_on_signals() -> asyncio.Event:
    """Answer an event that SIGTERM or SIGINT sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def open_ops(settings: Settings, ready: Readiness) -> web.AppRunner:
    """Open the ops port; answer what to `cleanup()`. Raises ProcessError if it is taken."""
    try:
        return await serve_ops(settings.ops_host, settings.ops_port, ready)
    except OSError as error:
        raise _cannot_listen("OPS_PORT", settings.ops_host, settings.ops_port, error) from None


def check_port_is_free(settings: Settings) -> None:
    """Make sure that nobody else has the API's port.

    Granian shares ports (SO_REUSEPORT), so a second API would start without a word and take half of the requests.

    Raises:
        SettingsError: HOST is not an address, or PORT is 0.
        ProcessError: somebody listens there, or we may not.
    """
    if settings.port == 0:
        raise SettingsError("PORT is not valid: give a number from 1 to 65535; nobody would find the API")
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(settings.host).version == 6 else socket.AF_INET
    except ValueError:
        raise SettingsError("HOST is not valid: give an IP address, such as 0.0.0.0 or 127.0.0.1") from None
    with socket.socket(family) as probe:
        # Ports of connections that have just ended count as free, as they do for the server.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise _cannot_listen("PORT", settings.host, settings.port, error) from None


def _cannot_listen(name: str, host: str, port: int, error: OSError) -> ProcessError:
    reason = "somebody else does" if error.errno == 98 else error.strerror or type(error).__name__
    return ProcessError(f"cannot listen at {host}:{port} ({reason}): free it, or set {name} to another port")


async def wait_for_database(settings: Settings, application: str, stop: asyncio.Event) -> Pool | None:
    """Open the pool as soon as the database answers and has this version's schema; None if told to stop first.

    Raises:
        SettingsError: DATABASE_URL is not the URL of a database.
        ProcessError: the database answers, and refuses us. Waiting would not help: what we were given is wrong, and
            a new start may be given better.
    """
    said = ""
    while not stop.is_set():
        try:
            pool = await open_pool(settings, application)
            try:
                async with pool.acquire(timeout=5) as connection:
                    if await current(connection):
                        return pool
                reason = "the schema is older than this version: run `comanda migrate`"
            except BaseException:
                await close_pool(pool)
                raise
            await close_pool(pool)
        except ValueError:
            # Nothing of the error is shown: it may quote a part of the password.
            raise SettingsError(
                "DATABASE_URL is not valid: give postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
            ) from None
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise ProcessError(f"the database refuses us ({type(error).__name__}): correct DATABASE_URL") from None
        except OUTAGES as error:
            reason = f"the database does not answer ({type(error).__name__})"
        if reason != said:
            logger.warning("waiting for the database", extra={"reason": reason})
            said = reason
        try:
            async with asyncio.timeout(random.uniform(0.2, 1.0)):  # noqa: S311 (jitter)
                await stop.wait()
        except TimeoutError:
            continue
    return None
