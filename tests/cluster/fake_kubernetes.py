"""A small API server for the load balancer's tests: lists, watches and patches of objects that a test made."""

import asyncio
import copy
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import yaml
from aiohttp import web

from tests.cluster.alb.kubernetes import Json, Key, key

WHERE = {
    "Ingress": ("/apis/networking.k8s.io/v1", "ingresses"),
    "Service": ("/api/v1", "services"),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
    "Pod": ("/api/v1", "pods"),
    "Node": ("/api/v1", "nodes"),
}


class FakeKubernetes:
    """Holds objects by kind and key, and a history for those who watch."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[Key, Json]] = {kind: {} for kind in WHERE}
        self.history: list[tuple[int, str, Json]] = []
        """Version, kind, event."""
        self.oldest = 0
        """The oldest version that a watch may begin at."""
        self.asked: list[str] = []
        """Each request's method and path."""
        self.lists = 0
        """How many lists were asked for."""
        self.tls: ssl.SSLContext | None = None
        """For HTTPS, set before it opens."""
        self.watched: list[int] = []
        """The versions that watches began at."""
        self.refuses_writes = 0
        """The status that writes are refused with, 0 for none."""
        self._changed = asyncio.Condition()
        self._versions = count(1)
        self._uids = count(1)
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._epoch = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._port}"

    def kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig that leads here."""
        file = folder / "kubeconfig"
        config = {
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "nobody"}}],
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "nobody", "user": {}}],
        }
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return file

    async def open(self) -> None:
        """Begin to answer; at the same port as the last time."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self.tls).start()
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Be away."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def put(self, thing: Json) -> Json:
        """Make an object, or change it."""
        thing = copy.deepcopy(thing)
        kind = thing["kind"]
        old = self.objects[kind].get(key(thing))
        thing["metadata"].setdefault("uid", old["metadata"]["uid"] if old else f"uid-{next(self._uids)}")
        await self._note("MODIFIED" if old else "ADDED", thing)
        return thing

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object; one with finalizers waits for them."""
        thing = copy.deepcopy(self.objects[kind][namespace, name])
        if thing["metadata"].get("finalizers"):
            thing["metadata"]["deletionTimestamp"] = "2026-11-03T12:00:00Z"
            await self._note("MODIFIED", thing)
        else:
            await self._note("DELETED", thing)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so, looking at each change and each new watch."""
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(true)

    async def bookmark(self) -> None:
        """Tell all watches the newest version without a change."""
        await self.tell_watches({"type": "BOOKMARK", "object": {"metadata": {}}})

    async def tell_watches(self, event: Json) -> None:
        """Tell all watches something; it is given the newest version."""
        async with self._changed:
            version = next(self._versions)
            for kind in WHERE:
                told = copy.deepcopy(event)
                told["object"].setdefault("metadata", {})["resourceVersion"] = str(version)
                self.history.append((version, kind, told))
            self._changed.notify_all()

    async def forget_history(self) -> None:
        """Forget what was, as a server whose etcd was compacted; watches end."""
        async with self._changed:
            self.oldest = next(self._versions)
            self.history.clear()
            self._epoch += 1
            self._changed.notify_all()

    async def end_watches(self) -> None:
        """End all watches, as at their time."""
        async with self._changed:
            self._epoch += 1
            self._changed.notify_all()

    async def _note(self, what: str, thing: Json) -> None:
        kind = thing["kind"]
        async with self._changed:
            version = next(self._versions)
            thing["metadata"]["resourceVersion"] = str(version)
            if what == "DELETED":
                self.objects[kind].pop(key(thing), None)
            else:
                self.objects[kind][key(thing)] = thing
            self.history.append((version, kind, {"type": what, "object": thing}))
            self._changed.notify_all()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        for kind, (base, plural) in WHERE.items():
            rest = request.path.removeprefix(base).strip("/").split("/")
            namespace = rest[1] if rest[0] == "namespaces" and len(rest) > 2 else ""
            rest = rest[2:] if namespace else rest
            if not request.path.startswith(base + "/") or rest[0] != plural:
                continue
            if request.method == "PATCH" and self.refuses_writes:
                return web.json_response({"message": "not now"}, status=self.refuses_writes)
            if request.method == "PATCH":
                return await self._patch(request, kind, (namespace, rest[1]), rest[2] if len(rest) > 2 else "")
            if request.query.get("watch"):
                return await self._watch(request, kind, namespace)
            return self._list(kind, namespace)
        return web.json_response({"message": "no such thing"}, status=404)

    def _list(self, kind: str, namespace: str) -> web.Response:
        self.lists += 1
        items = [each for at, each in self.objects[kind].items() if namespace in {"", at[0]}]
        return web.json_response(
            {"kind": f"{kind}List", "metadata": {"resourceVersion": str(next(self._versions))}, "items": items}
        )

    async def _watch(self, request: web.Request, kind: str, namespace: str) -> web.StreamResponse:
        told, epoch = int(request.query["resourceVersion"]), self._epoch
        if told < self.oldest:
            return web.json_response({"message": "too old resource version"}, status=410)
        async with self._changed:
            self.watched.append(told)
            self._changed.notify_all()
        response = web.StreamResponse()
        await response.prepare(request)
        while epoch == self._epoch:
            async with self._changed:
                while epoch == self._epoch and not (self.history and self.history[-1][0] > told):
                    await self._changed.wait()
                news = [each for each in self.history if each[0] > told]
            for version, of_kind, event in news:
                told = version
                where = event["object"]["metadata"].get("namespace", "")
                if of_kind == kind and namespace in {"", where}:
                    await response.write(json.dumps(event).encode() + b"\n")
        return response

    async def _patch(self, request: web.Request, kind: str, at: Key, part: str) -> web.Response:
        thing = copy.deepcopy(self.objects[kind].get(at))
        body = await request.json()
        if thing is None:
            return web.json_response({"message": "not found"}, status=404)
        for name in ("uid", "resourceVersion"):
            said = (body.get("metadata") or {}).pop(name, None)
            if said is not None and said != thing["metadata"][name]:
                return web.json_response({"message": f"another {name}"}, status=409)
        strategic = request.headers["Content-Type"] == "application/strategic-merge-patch+json"
        allowed = {"status"} if part == "status" else set(body) - {"status"}
        _merge(thing, {name: value for name, value in body.items() if name in allowed}, strategic)
        gone = "deletionTimestamp" in thing["metadata"] and not thing["metadata"].get("finalizers")
        await self._note("DELETED" if gone else "MODIFIED", thing)
        return web.json_response(thing)


def _merge(thing: Json, patch: Json, strategic: bool) -> None:
    for name, value in patch.items():
        if isinstance(value, dict):
            _merge(thing.setdefault(name, {}), value, strategic)
        elif strategic and name == "conditions":
            new = {each["type"]: each for each in value}
            old = {each["type"]: each for each in thing.get(name) or []}
            thing[name] = list((old | new).values())
        else:
            thing[name] = value


@asynccontextmanager
async def fake_kubernetes() -> AsyncIterator[FakeKubernetes]:
    """An API server until the block ends."""
    server = FakeKubernetes()
    await server.open()
    try:
        yield server
    finally:
        await server.close()
