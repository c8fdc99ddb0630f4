"""The command that settles money after a restore: opens database and provider, runs the story, closes them."""

import random
from datetime import datetime, timedelta

from comanda.checkout.context import Checkout
from comanda.checkout.restored_report import Lost, Report
from comanda.checkout.settle_restored import foresee_restored, settle_restored
from comanda.clock import utc_now
from comanda.database.migrate import current
from comanda.database.pool import OUTAGES, close_pool, open_pool
from comanda.payments.provider import ProviderDenied, ProviderError
from comanda.process import ProcessError, make_provider
from comanda.settings import Settings, SettingsError

GIVEN_UP: tuple[type[Exception], ...] = (ProviderError, *OUTAGES)


async def settle(
    settings: Settings,
    *,
    since: datetime,
    until: datetime | None,
    keep: bool,
    patience: timedelta,
    dry_run: bool,
) -> Report:
    """Settle all that moved at the provider since a backup, or only say what would be done.

    Args:
        since: the backup's moment.
        until: since when the restored database takes orders; None for now.
        keep: whether the money of paid orders that the database does not know stays, as the kitchen served them.
        patience: how long to go on while somebody does not answer.

    Raises:
        SettingsError: the moments or DATABASE_URL are wrong.
        ProcessError: the database or the provider refuses us, or does not answer.
    """
    lost = Lost.KEEP if keep else Lost.REFUND
    now = utc_now()
    until = now if until is None else until
    if since > until or until > now:
        raise SettingsError("--since must not be after --until, nor either of them in the future")
    try:
        pool = await open_pool(settings, "restore")
    except ValueError:
        # Nothing of the error is shown: it may quote a part of the password.
        raise SettingsError("DATABASE_URL is not valid: give postgresql://USER:PASSWORD@HOST:PORT/DATABASE") from None
    except OUTAGES as error:
        raise ProcessError(f"the database does not answer ({type(error).__name__}): nothing was done") from None
    try:
        async with pool.acquire(timeout=5) as connection:
            if not await current(connection):
                raise ProcessError("the schema is older than this version: run `comanda migrate`, then this again")
        async with make_provider(settings) as provider:
            checkout = Checkout(pool, provider, settings, utc_now, random.SystemRandom())
            if dry_run:
                return await foresee_restored(checkout, since, until=until, lost=lost)
            return await settle_restored(checkout, since, until=until, lost=lost, patience=patience)
    except ProviderDenied as error:
        raise ProcessError(
            f"the provider denies us ({error}): correct MERCADO_PAGO_ACCESS_TOKEN, then run this again"
        ) from None
    except GIVEN_UP as error:
        raise ProcessError(f"given up ({str(error) or type(error).__name__}): run this again") from None
    finally:
        await close_pool(pool)
