"""``python -m comanda_sandbox``: the sandbox as a process."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from comanda_sandbox.ledger import UnusableLedgerError
from comanda_sandbox.sandbox import SELLER_EMAIL, Settings
from comanda_sandbox.server import serving


def main() -> int:
    """Run until SIGTERM or SIGINT.

    Returns:
        0 after a clean stop, 1 if it cannot start where it was told to, 2 for wrong settings.
    """
    options = _parser().parse_args()
    secrets = {name: os.environ.get(name, "").strip() for name in ("SANDBOX_TOKEN", "SANDBOX_WEBHOOK_SECRET")}
    for name, value in secrets.items():
        if not value:
            return _refuse(f"{name} is missing or empty: set it in the environment", 2)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = Settings(
        token=secrets["SANDBOX_TOKEN"],
        webhook_secret=secrets["SANDBOX_WEBHOOK_SECRET"],
        webhook_url=options.webhook_url,
        ledger=options.ledger,
        webhook_time_scale=options.webhook_time_scale,
        seller_email=options.seller_email,
        operator_from_anywhere=options.operator_from_anywhere,
    )
    try:
        asyncio.run(_serve(settings, options.host, options.port))
    except UnusableLedgerError as error:
        return _refuse(str(error), 1)
    except OSError as error:
        return _refuse(f"cannot listen at {options.host}:{options.port}: {error.strerror or error}", 1)
    return 0


async def _serve(settings: Settings, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(settings, host=host, port=port) as (_, url):
        print(f"Pix sandbox listening at {url}", flush=True)
        await stop.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m comanda_sandbox",
        description="A look-alike of Mercado Pago's Pix payments. SANDBOX_TOKEN (the access token it takes)"
        " and SANDBOX_WEBHOOK_SECRET (what it signs webhooks with) are read from the environment.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    parser.add_argument("--port", type=_port, default=8001, help="port, 0 for a free one (%(default)s)")
    parser.add_argument(
        "--ledger",
        type=Path,
        help="SQLite file that keeps payments and webhooks, made if missing (none: memory)",
    )
    parser.add_argument(
        "--webhook-url",
        type=_url,
        help="where webhooks go, as if set in the panel (none: only notification_url)",
    )
    parser.add_argument(
        "--webhook-time-scale",
        type=_scale,
        default=1000.0,
        help="how many times faster than Mercado Pago's the webhooks' retry schedule runs (15 min, 30 min,"
        " 6 h, 48 h, 96 h three times). At the default of %(default)g the first retry follows after 0.9 s,"
        " the whole schedule takes 21 min; 1 is real time",
    )
    parser.add_argument(
        "--seller-email",
        default=SELLER_EMAIL,
        help="the seller's own e-mail, refused as a payer's (%(default)s)",
    )
    parser.add_argument(
        "--operator-from-anywhere",
        action="store_true",
        help="take operator actions and the page from other machines too; without it from this machine alone",
    )
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1e-3 <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above zero")
    return value


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise argparse.ArgumentTypeError(f"{text!r} is no http or https URL")
    return text


def _refuse(message: str, code: int) -> int:
    print(f"comanda_sandbox: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
