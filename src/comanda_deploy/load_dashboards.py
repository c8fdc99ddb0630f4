"""`load-dashboards`: dashboards of grafana.com, a pinned revision of each, brought into Grafana by its HTTP API.

This machine fetches them, not the cluster: Grafana reaches no internet. What is pinned is in `infra/grafana-com.json`.
A file whose checksum is not known yet is judged by what it holds, and its checksum written there: from then on that
counts.
"""

import base64
import hashlib
import json
import sys
import urllib.error
import urllib.request
from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from comanda_deploy import commands, forwarding, grafana, kubectl
from comanda_deploy.arguments import Parser, add_json
from comanda_deploy.errors import DeployError
from comanda_deploy.forwarding import VERB
from comanda_deploy.grafana import ADMIN, GRAFANA
from comanda_deploy.objects import Json

PINS = Path(__file__).parents[2] / "infra" / "grafana-com.json"
SITE = "https://grafana.com/api/dashboards"
SOURCE = "comanda-prometheus"
"""The uid of the data source, as Grafana has it provisioned."""
FOLDER = {"uid": "grafana-com", "title": "grafana.com"}
LARGEST = 4_194_304
"""Bytes of a dashboard. 1860 has a quarter of a million."""
ANSWERS_SECONDS = 30
OF_ANGULAR = {"graph", "singlestat", "table-old", "heatmap-old", "grafana-piechart-panel", "grafana-worldmap-panel"}
"""Kinds of panels that Grafana no longer draws, and replaces by their successors as far as it knows one."""


@dataclass(frozen=True)
class Pin:
    """Which dashboard, in which revision.

    Args:
        asks_for: what stands in its queries. sha256: of the file, "" as long as nobody has seen it.
    """

    number: int
    revision: int
    asks_for: str
    sha256: str


def add_options(parser: Parser) -> None:
    """Add what load-dashboards takes beside --yes."""
    add_json(parser)
    parser.add_argument(
        "--from",
        dest="folder",
        type=Path,
        metavar="FOLDER",
        help="take the files NUMBER.json of a folder, where this machine does not reach grafana.com",
    )


def load(options: Namespace) -> int:
    """Fetch what is pinned, look at it, and bring it into Grafana; what was there under the same uid is replaced.

    Raises:
        DeployError: one cannot be had or is not what it should be, and nothing was loaded; or Grafana refused.
    """
    context = commands.context_of(options)
    kubectl.reach(context)
    forwarding.require(context, GRAFANA)
    password = grafana.password_of(context)
    found = []
    for pin in pins():
        data = from_folder(pin, options.folder) if options.folder else fetched(pin)
        found.append((replace(pin, sha256=checked(pin, data)), document(pin, data)))
    record([pin for pin, _ in found])
    with forwarding.opened(context, GRAFANA) as way:
        client = Client(f"http://127.0.0.1:{way.port}", password)
        client.require_source()
        client.make_folder()
        for pin, body in found:
            client.put(pin, mapped(pin, body))
            _say_of(pin, body)
    if options.json:
        loaded = [{"id": pin.number, "revision": pin.revision, "sha256": pin.sha256} for pin, _ in found]
        print(json.dumps({"loaded": loaded}))
    again = f"Grafana forgets them when its pod goes: {VERB} load-dashboards again."
    print(f"Loaded into folder {FOLDER['title']}. {again} Next: {VERB} grafana-connect", file=sys.stderr)
    return 0


def pins() -> list[Pin]:
    """Answer what is pinned.

    Raises:
        DeployError: the file cannot be read.
    """
    try:
        read: dict[str, Json] = json.loads(PINS.read_text(encoding="utf-8"))
        return [
            Pin(int(number), int(each["revision"]), str(each["asks_for"]), str(each["sha256"] or ""))
            for number, each in read.items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeployError(f"{PINS} cannot be read ({error}): git checkout it") from error


def record(seen: list[Pin]) -> None:
    """Write the checksums of what was seen for the first time beside what is pinned.

    Raises:
        DeployError: it cannot be written.
    """
    new = [pin for pin, before in zip(seen, pins(), strict=True) if pin.sha256 != before.sha256]
    if not new:
        return
    read: dict[str, Json] = json.loads(PINS.read_text(encoding="utf-8"))
    for pin in new:
        read[str(pin.number)]["sha256"] = pin.sha256
    try:
        PINS.write_text(json.dumps(read, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise DeployError(f"{PINS} cannot be written ({error.strerror}): mend that, then run it again") from error
    names = ", ".join(str(pin.number) for pin in new)
    print(
        f"The checksum of {names} was not known: it is in {PINS.name} now. Look at it, and commit it.", file=sys.stderr
    )


def fetched(pin: Pin) -> bytes:
    """Answer the pinned revision's file, from grafana.com.

    Raises:
        DeployError: it cannot be had.
    """
    url = f"{SITE}/{pin.number}/revisions/{pin.revision}/download"
    host = urlsplit(url).hostname
    try:
        with urllib.request.urlopen(url, timeout=ANSWERS_SECONDS) as answer:  # noqa: S310 - ours
            data: bytes = answer.read(LARGEST + 1)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise DeployError(
            f"dashboard {pin.number} cannot be had from {host} ({getattr(error, 'reason', error)}): look at the "
            f"network, or load {url} elsewhere, name it {pin.number}.json, and say --from FOLDER"
        ) from error
    return data


def from_folder(pin: Pin, folder: Path) -> bytes:
    """Answer the same from a folder of this machine.

    Raises:
        DeployError: it is not there.
    """
    file = folder / f"{pin.number}.json"
    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST + 1)
    except OSError as error:
        raise DeployError(f"{file} cannot be read ({error.strerror}): put revision {pin.revision} there") from error


def checked(pin: Pin, data: bytes) -> str:
    """Answer the checksum of a file.

    Raises:
        DeployError: it is not the one that is pinned.
    """
    checksum = hashlib.sha256(data).hexdigest()
    if pin.sha256 and checksum != pin.sha256:
        raise DeployError(
            f"dashboard {pin.number} is not revision {pin.revision} as it was pinned (its checksum is {checksum}): "
            f"nothing was loaded. Look at it before you write another into {PINS.name}"
        )
    return checksum


def document(pin: Pin, data: bytes) -> Json:
    """Answer a file as a dashboard.

    Raises:
        DeployError: it is none, or is another, or wants what is not there.
    """

    def refused(why: str) -> DeployError:
        return DeployError(f"what came as dashboard {pin.number} {why}: nothing was loaded")

    if len(data) > LARGEST:
        raise refused(f"has more than {LARGEST} bytes")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise refused("is not JSON") from error
    if not isinstance(body, dict) or not isinstance(body.get("title"), str):
        raise refused("is no dashboard: it has no title")
    panels = body.get("panels") or body.get("rows")
    if not isinstance(panels, list) or not all(isinstance(each, dict) for each in panels):
        raise refused("is no dashboard: it has no panels")
    if not isinstance(body.get("schemaVersion"), int):
        raise refused("is no dashboard: it has no schemaVersion")
    if body.get("gnetId") not in {None, pin.number}:
        raise refused(f"is {body['gnetId']} ({body['title']})")
    if pin.asks_for not in json.dumps(panels):
        raise refused(f"({body['title']}) asks for no {pin.asks_for}")
    wanted = [each for each in body.get("__inputs") or () if each.get("pluginId") != "prometheus"]
    if wanted:
        raise refused(f"wants {', '.join(str(each.get('name')) for each in wanted)}, which is no Prometheus")
    return body


def mapped(pin: Pin, body: Json) -> Json:
    """Answer a dashboard as Grafana is given it: its data source ours, under a uid that stays.

    `/api/dashboards/db` does not do that by itself, as the page for importing does.
    """
    inputs = [str(each["name"]) for each in body.get("__inputs") or ()]
    found: Json = _with_source({key: value for key, value in body.items() if not key.startswith("__")}, inputs)
    for variable in (found.get("templating") or {}).get("list") or ():
        if variable.get("type") == "datasource":
            variable["current"] = {"selected": True, "text": "Prometheus", "value": SOURCE}
    tags = [*(found.get("tags") or ()), "grafana.com", f"revision {pin.revision}"]
    return {**found, "id": None, "uid": f"grafana-com-{pin.number}", "tags": list(dict.fromkeys(tags))}


def _with_source(value: Any, inputs: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _with_source(each, inputs) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_source(each, inputs) for each in value]
    if isinstance(value, str):
        for name in inputs:
            value = value.replace(f"${{{name}}}", SOURCE)
    return value


class Client:
    """Grafana's HTTP API, as its admin."""

    def __init__(self, address: str, password: str) -> None:
        """Keep where it is, and who asks."""
        self._address = address
        self._login = base64.b64encode(f"{ADMIN}:{password}".encode()).decode()
        # It is on this machine: no proxy knows the way to it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def require_source(self) -> None:
        """See that our data source is there.

        Raises:
            DeployError: it is not.
        """
        if self._ask("GET", f"/api/datasources/uid/{SOURCE}") is None:
            raise DeployError(f"Grafana has no data source {SOURCE}: run {VERB} {GRAFANA.made_by}")

    def make_folder(self) -> None:
        """Make the folder, unless it is there."""
        if self._ask("GET", f"/api/folders/{FOLDER['uid']}") is None:
            self._ask("POST", "/api/folders", dict(FOLDER))

    def put(self, pin: Pin, body: Json) -> None:
        """Load a dashboard, over the one of the same uid."""
        message = f"revision {pin.revision} of grafana.com's {pin.number}"
        asked = {"dashboard": body, "folderUid": FOLDER["uid"], "overwrite": True, "message": message}
        self._ask("POST", "/api/dashboards/db", asked)

    def _ask(self, method: str, path: str, body: Json | None = None) -> Any:
        """Answer what Grafana says, None where it does not know what is asked for."""
        headers = {"Authorization": f"Basic {self._login}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, data, headers, method=method)  # noqa: S310 - of loopback
        try:
            with self._opener.open(request, timeout=ANSWERS_SECONDS) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            with error:
                said = " ".join(error.read(2000).decode("utf-8", "replace").split())[:300]
            if error.code == 404 and method == "GET":
                return None
            if error.code in {401, 403}:
                raise DeployError(
                    f"Grafana does not take the password of its admin: it has another one since its start. Run {VERB} "
                    "rotate-secrets grafana"
                ) from error
            raise DeployError(f"Grafana refused {method} {path} ({error.code}): {said}") from error
        except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise DeployError(f"Grafana does not answer ({reason}): run {VERB} load-dashboards again") from error


def _say_of(pin: Pin, body: Json) -> None:
    print(f"  {pin.number} {body['title']}, revision {pin.revision}", file=sys.stderr, flush=True)
    old = [each for each in _panels(body) if each.get("type") in OF_ANGULAR]
    if old:
        kinds = ", ".join(sorted({str(each["type"]) for each in old}))
        print(f"    {len(old)} of its panels are of kinds that Grafana replaces by itself: {kinds}", file=sys.stderr)


def _panels(body: Json) -> list[Json]:
    panels: list[Json] = [*(body.get("panels") or ()), *(body.get("rows") or ())]
    return [found for panel in panels for found in (panel, *_panels(panel))]
