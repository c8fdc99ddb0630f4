"""The admission webhook that puts the load balancer's gate into pods that are made, where a namespace asks for it."""

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path

import yaml
from aiohttp import web

from tests.cluster.alb.gates import LEGACY_PREFIX, condition_type
from tests.cluster.alb.kubernetes import Json

logger = logging.getLogger(__name__)

PATH = "/mutate-v1-pod"
MANIFESTS = Path(__file__).with_name("manifests.yaml")

GroupsOf = Callable[[str, dict[str, str]], list[str]]


def manifests(url: str, authority: str) -> list[Json]:
    """Answer what the controller's chart would put into the cluster: the Ingress class and the webhook.

    Args:
        url: where this webhook is, as the API server reaches it, without a path. authority: who signed its
            certificate, in PEM.
    """
    found: list[Json] = list(yaml.safe_load_all(MANIFESTS.read_text(encoding="utf-8")))
    for each in found:
        for webhook in each.get("webhooks", []):
            bundle = base64.b64encode(authority.encode()).decode()
            webhook["clientConfig"] = {"url": url.rstrip("/") + PATH, "caBundle": bundle}
    return found


def review(body: Json, groups_of: GroupsOf) -> Json:
    """Answer an AdmissionReview.

    Args:
        groups_of: answers the names of the target groups for a namespace and a pod's labels.
    """
    asked = body["request"]
    pod = asked["object"]
    labels = pod["metadata"].get("labels") or {}
    # A pod that is being made has no namespace of its own yet; the request has.
    groups = groups_of(str(asked.get("namespace", "")), labels)
    answer: Json = {"uid": asked["uid"], "allowed": True}
    if patch := _patch(pod, groups):
        answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
    return {"apiVersion": body["apiVersion"], "kind": "AdmissionReview", "response": answer}


def _patch(pod: Json, groups: list[str]) -> list[Json]:
    had = pod["spec"].get("readinessGates") or []
    if not groups:
        return []
    kept = [each for each in had if not each["conditionType"].startswith(LEGACY_PREFIX)]
    present = {each["conditionType"] for each in kept}
    added = [{"conditionType": kind} for kind in map(condition_type, groups) if kind not in present]
    if kept + added == had:
        return []
    return [{"op": "replace" if had else "add", "path": "/spec/readinessGates", "value": kept + added}]


def application(groups_of: GroupsOf) -> web.Application:
    """Answer the webhook as a web application."""

    async def mutate(request: web.Request) -> web.Response:
        return web.json_response(review(await request.json(), groups_of))

    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post(PATH, mutate)
    return app
