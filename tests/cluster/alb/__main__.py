"""`python -m tests.cluster.alb`: runs the load balancer's stand-in until SIGTERM."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from tests.cluster.alb.clock import LoopClock
from tests.cluster.alb.model import Naming
from tests.cluster.alb.standin import Options, StandIn
from tests.cluster.alb.targets import Lags


def main(arguments: list[str] | None = None) -> int:
    """Run it; answer 0 after a signal, 1 if it could not go on."""
    options, status = _options(arguments), 0
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        asyncio.run(_run(options))
    except* (OSError, ValueError) as errors:
        print(f"alb: {errors.exceptions[0]}", file=sys.stderr)
        status = 1
    return status


async def _run(options: Options) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with StandIn(options, LoopClock()) as standin:
        stopping = asyncio.ensure_future(stop.wait())
        failing = asyncio.ensure_future(standin.failed())
        await asyncio.wait({stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if failing.done():
            await failing
        failing.cancel()


def _options(arguments: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.alb", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--listen", type=_place, required=True, metavar="HOST:PORT", help="The HTTP listener.")
    parser.add_argument("--listen-tls", type=_place, metavar="HOST:PORT", help="The HTTPS listener, self-signed.")
    parser.add_argument("--admin", type=_place, metavar="HOST:PORT", help="For GET /_alb/state.")
    parser.add_argument("--webhook", type=_place, metavar="HOST:PORT", help="For pods' readiness gates, by HTTPS.")
    parser.add_argument("--cert", type=Path, help="The webhook's certificate.")
    parser.add_argument("--key", type=Path, help="Its key.")
    parser.add_argument("--namespace", default="", help="The only one that counts; all of them without it.")
    parser.add_argument("--log", type=Path, help="The access log, appended to.")
    parser.add_argument("--lag", type=float, default=10, help="Seconds in which a removed pod still gets new requests.")
    parser.add_argument("--registration-lag", type=float, default=3, help="Seconds until a new pod is checked.")
    parser.add_argument("--cluster", default="comanda", help="Its name, which goes into the names of things.")
    parser.add_argument("--region", default="sa-east-1")
    given = parser.parse_args(arguments)
    if given.webhook and not (given.cert and given.key):
        parser.error("--webhook needs --cert and --key")
    return Options(
        kubeconfig=given.kubeconfig,
        listen=given.listen,
        listen_tls=given.listen_tls,
        admin=given.admin,
        webhook=given.webhook,
        certificate=given.cert,
        key=given.key,
        namespace=given.namespace,
        lags=Lags(given.registration_lag, given.lag),
        log=given.log,
        naming=Naming(given.cluster, given.region),
    )


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    sys.exit(main())
