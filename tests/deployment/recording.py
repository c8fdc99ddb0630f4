"""Every call that the operator's session makes, and what IAM is asked for each: an unknown call fails the test."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3

from comanda_testbed.bed import TestBed
from tests.deployment.rights import of_ec2, of_eks, of_the_rest
from tests.deployment.rights.request import Request
from tests.deployment.rights.things import Things


@dataclass(frozen=True)
class Call:
    """One call of AWS's API ("eks:CreateCluster", by boto3's name of the service), or what a person does by hand."""

    name: str
    requests: tuple[Request, ...]


@dataclass
class Recording:
    """What was called, in order."""

    calls: list[Call] = field(default_factory=list)

    @property
    def requests(self) -> list[Request]:
        """Every question to IAM, each once, in the order in which it first came."""
        return list(dict.fromkeys(request for call in self.calls for request in call.requests))

    def add(self, calls: Iterable[Call]) -> None:
        """Take calls in that no session made."""
        self.calls += calls


class Recorder:
    """Listens to sessions. What a thing carries is looked up before the call is sent: as it stands at that moment."""

    def __init__(self, bed: TestBed) -> None:
        self.recording = Recording()
        self._things = Things(bed)

    def watch(self, session: boto3.Session) -> None:
        """Hear of every call of a session; its clients are made after this."""
        session.events.register("before-parameter-build", self._hear)

    def _hear(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        service = model.service_model.service_name
        self.recording.calls.append(
            Call(f"{service}:{model.name}", tuple(requests_of(service, model.name, params, self._things)))
        )


def requests_of(service: str, operation: str, parameters: Mapping[str, Any], things: Things) -> Iterable[Request]:
    """Answer what IAM is asked for a call.

    Raises:
        KeyError: nobody has looked up what it needs: it belongs into the tables of `rights`.
    """
    if service == "ec2":
        return of_ec2.requests(operation, parameters, things)
    if service == "eks":
        return of_eks.requests(operation, parameters, things)
    return of_the_rest.requests(service, operation, parameters, things)
