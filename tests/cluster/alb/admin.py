"""The state page, on a port of its own, where a test waits for what it needs instead of looking again and again."""

import re
from collections.abc import Callable

from aiohttp import web

from tests.cluster.alb.accesslog import AccessLog, counted
from tests.cluster.alb.balancer import Balancer
from tests.cluster.alb.clock import Bell, Clock, time_limit
from tests.cluster.alb.kubernetes import Json
from tests.cluster.alb.targets import State

LONGEST_WAIT = 600

_WAIT = re.compile(r"(?P<state>[a-z]+):(?P<namespace>[^/:]+)/(?P<service>[^/:]+):(?P<exactly>=?)(?P<count>\d+)")


class Admin:
    """Answers `GET /_alb/state`.

    With `wait=STATE:NAMESPACE/SERVICE:N` it answers once at least N targets are in a state, with `:=N` once exactly N
    are; with `wait=listening` once a listener is open, with `wait=requests:N` once so many are in the log. Several
    waits hold together. After `timeout` seconds (60) it answers 504, with the state too.
    """

    def __init__(self, balancer: Balancer, log: AccessLog, clock: Clock, bell: Bell, more: Callable[[], Json]) -> None:
        self._balancer = balancer
        self._log = log
        self._clock = clock
        self._bell = bell
        self._more = more

    def application(self) -> web.Application:
        """Answer it as a web application."""
        app = web.Application()
        app.router.add_get("/_alb/state", self._state)
        return app

    async def _state(self, request: web.Request) -> web.Response:
        waits = []
        for text in request.query.getall("wait", []):
            wait = self._wait(text)
            if wait is None:
                return web.json_response({"error": f"no such wait: {text}"}, status=400)
            waits.append(wait)
        try:
            seconds = min(float(request.query.get("timeout", "60")), LONGEST_WAIT)
        except ValueError:
            return web.json_response({"error": "timeout is a number of seconds"}, status=400)
        status = 200
        try:
            async with time_limit(self._clock, seconds):
                await self._bell.until(lambda: all(wait() for wait in waits))
        except TimeoutError:
            status = 504
        state = {**self._balancer.shown(), **self._more(), "counts": counted(self._log.counts)}
        return web.json_response(state, status=status)

    def _wait(self, text: str) -> Callable[[], bool] | None:
        """Answer what tells whether a wait is over, None for one that is not understood."""
        if text == "listening":
            return lambda: bool(self._more()["open"])
        if requests := re.fullmatch(r"requests:(\d+)", text):
            return lambda: self._log.counts["requests"] >= int(requests[1])
        found = _WAIT.fullmatch(text)
        if found is None or found["state"] not in set(State):
            return None
        state, count = State(found["state"]), int(found["count"])

        def now() -> int:
            return self._balancer.count(state, found["namespace"], found["service"])

        return (lambda: now() == count) if found["exactly"] else (lambda: now() >= count)
