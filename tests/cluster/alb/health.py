"""Health checks: one GET each, on a connection of its own."""

import aiohttp
from yarl import URL

from tests.cluster.alb.clock import Clock, time_limit
from tests.cluster.alb.model import GroupSpec
from tests.cluster.alb.targets import Outcome


class Checker:
    """Makes health checks, as an ALB makes them. Used as `async with`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Checker":
        # The load balancer does not validate its targets' certificates.
        connector = aiohttp.TCPConnector(limit=0, force_close=True, ssl=False)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={
                "User-Agent": "ELB-HealthChecker/2.0",
                "Connection": "close",
                "Accept-Encoding": "gzip, compressed",
            },
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    async def __call__(self, address: str, port: int, spec: GroupSpec) -> Outcome:
        """Look once at a target."""
        health = spec.settings.health
        scheme = health.protocol.lower()
        host = f"[{address}]" if ":" in address else address
        url = URL(f"{scheme}://{host}:{spec.check_port or port}{health.path}", encoded=True)
        assert self._session is not None
        try:
            async with (
                time_limit(self._clock, health.timeout),
                self._session.get(url, allow_redirects=False) as answer,
            ):
                if not health.passes(answer.status):
                    description = f"Health checks failed with these codes: [{answer.status}]"
                    return Outcome(False, "Target.ResponseCodeMismatch", description)
                return Outcome(True)
        except TimeoutError:
            return Outcome(False, "Target.Timeout", "Request timed out")
        except (OSError, aiohttp.ClientError):
            return Outcome(False, "Target.FailedHealthChecks", "Health checks failed")
