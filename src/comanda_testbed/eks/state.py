"""What the operations of the emulated EKS share: clusters, and things that are on their way."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

from comanda_testbed.shapes import Refusal, RestJson

ACCOUNT = "123456789012"
Json = dict[str, Any]


def now() -> datetime:
    """Answer the time, aware, in UTC."""
    return datetime.now(UTC)


@dataclass
class Thing:
    """A resource on its way: what it is, and what becomes of it after some more looks."""

    body: Json
    looks: int = 0
    then: Callable[[], None] | None = None

    def turn(self) -> None:
        """Somebody looks: AWS has got a little further."""
        if self.then is None:
            return
        self.looks -= 1
        if self.looks < 0:
            then, self.then = self.then, None
            then()


@dataclass
class Cluster(Thing):
    """A cluster and all that belongs to it."""

    groups: dict[str, Thing] = field(default_factory=dict)
    addons: dict[str, Thing] = field(default_factory=dict)
    access: dict[str, Json] = field(default_factory=dict)
    policies: dict[str, dict[str, Json]] = field(default_factory=dict)
    identities: dict[str, Json] = field(default_factory=dict)
    updates: dict[str, Thing] = field(default_factory=dict)


class State:
    """The account's clusters, and what every operation does with them.

    Args:
        client: answers a boto3 client of the account's other services, for what EKS does there itself.
        region: where it stands.
        looks: how often a thing is looked at before it is done.
    """

    def __init__(self, client: Callable[[str], Any], region: str, looks: int = 1) -> None:
        """Begin with no cluster."""
        self.wire = RestJson("eks")
        self.clusters: dict[str, Cluster] = {}
        self.looks = looks
        self.failures: dict[str, tuple[str, str]] = {}
        """What fails the next time it is made or changed: "nodegroup comanda-database" to an issue's code and words."""
        self.insights: list[Json] = []
        self._client = client
        self._region = region
        self._lock = threading.RLock()

    def _later(self, thing: Thing, what: str, then: Callable[[], None], fail: Callable[[], None] | None = None) -> None:
        issue = self.failures.pop(what, None)
        if issue and fail:
            code, words = issue

            def failed() -> None:
                fail()
                thing.body["health"] = {"issues": [health_issue(thing, code, words)]}

            thing.looks, thing.then = self.looks, failed
        else:
            thing.looks, thing.then = self.looks, then

    def _update(
        self, cluster: Cluster, thing: Thing, kind: str, change: Callable[[], Any], what: str, *, mark: bool = True
    ) -> Json:
        update: Json = {
            "id": str(uuid4()),
            "status": "InProgress",
            "type": kind,
            "params": [],
            "createdAt": now(),
            "errors": [],
        }
        cluster.updates[update["id"]] = Thing(update)
        issue = self.failures.pop(what, None)
        if mark:
            thing.body["status"] = "UPDATING"

        def ended() -> None:
            if mark:
                thing.body["status"] = "ACTIVE"
            if issue:
                update["status"] = "Failed"
                update["errors"] = [{"errorCode": issue[0], "errorMessage": issue[1], "resourceIds": []}]
                if not mark:
                    thing.body["status"] = "UPDATE_FAILED"
            else:
                change()
                update["status"] = "Successful"

        thing.looks, thing.then = self.looks, ended
        return update

    def _public(self, cluster: Cluster) -> Json:
        return {key: value for key, value in cluster.body.items() if key != "clientRequestToken"}

    def _cluster(self, name: str) -> Cluster:
        if name not in self.clusters:
            raise Refusal("ResourceNotFoundException", f"No cluster found for name: {name}.", 404)
        return self.clusters[name]

    def _active(self, name: str) -> Cluster:
        cluster = self._cluster(name)
        if cluster.body["status"] != "ACTIVE":
            raise Refusal("ResourceInUseException", f"Cluster is {cluster.body['status']}", 409)
        return cluster

    def _group(self, cluster: str, name: str) -> Thing:
        if name not in self._cluster(cluster).groups:
            raise Refusal("ResourceNotFoundException", f"No node group found for name: {name}.", 404)
        return self.clusters[cluster].groups[name]

    def _active_group(self, cluster: str, name: str) -> Thing:
        group = self._group(cluster, name)
        if group.body["status"] not in {"ACTIVE", "DEGRADED"}:
            raise Refusal("ResourceInUseException", f"Nodegroup is {group.body['status']}", 409)
        return group

    def _addon(self, cluster: str, name: str) -> Thing:
        if name not in self._cluster(cluster).addons:
            raise Refusal("ResourceNotFoundException", f"No addon: {name} found in cluster: {cluster}", 404)
        return self.clusters[cluster].addons[name]

    def _entry(self, cluster: str, principal: str) -> Json:
        if principal not in self._cluster(cluster).access:
            raise Refusal("ResourceNotFoundException", "The specified principalArn could not be found", 404)
        return self.clusters[cluster].access[principal]

    def _identity(self, cluster: str, association: str) -> Json:
        if association not in self._cluster(cluster).identities:
            raise Refusal("ResourceNotFoundException", f"No association found for ID: {association}", 404)
        found: Json = self.clusters[cluster].identities[association]
        return found

    def _tagged(self, arn: str) -> Json:
        for cluster in self.clusters.values():
            things = itertools.chain(
                [cluster.body],
                (each.body for each in cluster.groups.values()),
                (each.body for each in cluster.addons.values()),
                cluster.access.values(),
                cluster.identities.values(),
            )
            for body in things:
                if arn in body.values():
                    return body
        raise Refusal("NotFoundException", f"no resource {arn}", 404)

    def _role(self, arn: str, service: str) -> None:
        name = arn.rsplit("/", maxsplit=1)[-1]
        try:
            role = self._client("iam").get_role(RoleName=name)["Role"]
        except ClientError as error:
            raise Refusal(
                "InvalidParameterException", f"Role with arn: {arn} could not be assumed because it does not exist"
            ) from error
        if service not in str(role["AssumeRolePolicyDocument"]):
            raise Refusal("InvalidParameterException", f"Role with arn: {arn} does not trust {service}")

    def _arn(self, what: str) -> str:
        return f"arn:aws:eks:{self._region}:{ACCOUNT}:{what}"


def fail(thing: Thing, status: str) -> None:
    """Let a thing be as EKS leaves what it could not make."""
    thing.body["status"] = (
        {"CREATE_FAILED": "FAILED"}.get(status, status) if "platformVersion" in thing.body else status
    )


def health_issue(thing: Thing, code: str, words: str) -> Json:
    """Answer a health issue, as EKS words it."""
    return {"code": code, "message": words, "resourceIds": [thing.body.get("nodegroupName", "")]}


def snake(name: str) -> str:
    """Answer "cluster_name" of "clusterName"."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
