"""What is known of the cluster: objects listed once and followed from then on, through outages of the API server."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import aiohttp

from tests.cluster.alb.clock import Clock, sleep
from tests.cluster.alb.kubeconfig import Access

logger = logging.getLogger(__name__)

Json: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str]
"""Namespace and name."""

AGAIN_SECONDS = 1
"""Between two tries to reach an API server that is away."""
WATCH_SECONDS = 240
"""After which the server ends a watch, and it is taken up anew."""

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


class Away(Exception):
    """The API server cannot be reached, or cannot answer now."""


class Refused(Exception):
    """It answers, and says no.

    Args:
        status: of HTTP.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """The API server. Used as `async with`."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Api":
        headers = {"Authorization": f"Bearer {self._access.token}"} if self._access.token else {}
        connector = aiohttp.TCPConnector(limit=0, ssl=self._access.tls or True)
        timeout = aiohttp.ClientTimeout(total=None, connect=10)
        self._session = aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    async def get(self, path: str) -> Json:
        """Answer an object or a list.

        Raises:
            Away: not now. Refused: no.
        """
        return await self._ask("GET", path)

    async def patch(self, path: str, body: Json, kind: str = MERGE) -> Json:
        """Change an object; answer it as it then is.

        Raises:
            Away: not now. Refused: no.
        """
        return await self._ask("PATCH", path, json.dumps(body).encode(), {"Content-Type": kind})

    async def watch(self, path: str, version: str) -> AsyncIterator[Json]:
        """Answer what happens after a version, until the server ends the watch.

        Raises:
            Away: the connection was lost. Refused: among others 410, for a version that is too old.
        """
        query = f"watch=1&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}"
        assert self._session is not None
        try:
            # A server that falls silent altogether is left somewhat later than it promised to end.
            async with self._session.get(
                f"{self._access.server}{path}?{query}", timeout=aiohttp.ClientTimeout(total=WATCH_SECONDS + 30)
            ) as answer:
                await _check(answer)
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield json.loads(line)
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            raise Away(f"{type(error).__name__}: {error}") from error

    async def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Json:
        assert self._session is not None
        try:
            async with self._session.request(
                method,
                self._access.server + path,
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=30),
            ) as answer:
                await _check(answer)
                found: Json = json.loads(await answer.read())
                return found
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            raise Away(f"{type(error).__name__}: {error}") from error


async def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status >= 500 or answer.status == 429:
        raise Away(f"it answers {answer.status}")
    if answer.status >= 400:
        raise Refused(answer.status, (await answer.text())[:300])


class Mirror:
    """All objects of one kind, as they were last known.

    Args:
        path: of the list, as `/api/v1/pods`. changed: called after each change.
    """

    def __init__(self, api: Api, clock: Clock, path: str, changed: Callable[[], None]) -> None:
        self.path = path
        self.objects: dict[Key, Json] = {}
        self.known = asyncio.Event()
        """Set once the list was had for the first time."""
        self._api = api
        self._clock = clock
        self._changed = changed
        self._version = ""

    def get(self, namespace: str, name: str) -> Json | None:
        """Answer one, if it is known."""
        return self.objects.get((namespace, name))

    def take(self, changed: Json) -> None:
        """Take an object as the answer to a change has it; what the watch says later stands above it."""
        if key(changed) in self.objects:
            self.objects[key(changed)] = changed

    async def follow(self) -> None:
        """Follow the cluster for good. While the API server is away, what was known stays."""
        said = ""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                said = ""
            except Refused as refusal:
                if refusal.status == 410:
                    # The server has forgotten what came after; all of it is asked for anew.
                    self._version = ""
                    continue
                said = self._say(said, str(refusal))
                await sleep(self._clock, AGAIN_SECONDS)
            except Away as away:
                said = self._say(said, str(away))
                await sleep(self._clock, AGAIN_SECONDS)

    def _say(self, said: str, error: str) -> str:
        if error != said:
            logger.warning("%s is not to be had: %s", self.path, error)
        return error

    async def _list(self) -> None:
        found = await self._api.get(self.path)
        self.objects = {key(each): each for each in found.get("items") or []}
        self._version = str(found["metadata"]["resourceVersion"])
        self.known.set()
        self._changed()

    async def _watch(self) -> None:
        """Follow one watch to its end, and keep the version to go on from."""
        async for event in self._api.watch(self.path, self._version):
            thing = event["object"]
            if event["type"] == "ERROR":
                raise Refused(int(thing.get("code", 500)), str(thing.get("message", "")))
            self._version = str(thing["metadata"]["resourceVersion"])
            if event["type"] == "BOOKMARK":
                continue
            if event["type"] == "DELETED":
                self.objects.pop(key(thing), None)
            else:
                self.objects[key(thing)] = thing
            self._changed()


def key(thing: Json) -> Key:
    """Answer an object's namespace ("" for one of the cluster's) and name."""
    return str(thing["metadata"].get("namespace", "")), str(thing["metadata"]["name"])
