"""The emulated account: started, given to whoever asks over HTTP, ended."""

import json
import logging
import os
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.loaders import Loader
from botocore.session import get_session

# Moto reads it when it is imported: without it IAM lacks AWS's own policies.
os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
# Nobody starts an instance of an image of the account's choice.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
# Seconds until a certificate is issued.
os.environ.setdefault("MOTO_ACM_VALIDATION_WAIT", "0")

from moto.iam import aws_managed_policies
from moto.iam import models as iam_models
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import ThreadedMotoServer

from comanda_testbed.authorization import Simulator
from comanda_testbed.eks import Eks
from comanda_testbed.faults import Fault, Faults
from comanda_testbed.front import Front, serve
from comanda_testbed.kubernetes import Kubernetes

# Of AWS's own policies those that EKS and an administrator take: every new account reads them, and 1,400 take seconds.
KNOWN = ("AmazonEKS", "AmazonEC2ContainerRegistry", "AdministratorAccess", "ReadOnlyAccess")
all_policies: dict[str, Any] = json.loads(aws_managed_policies.aws_managed_policies_data)
few = {name: policy for name, policy in all_policies.items() if name.startswith(KNOWN)}
iam_models.aws_managed_policies_data = json.dumps(few)  # type: ignore[attr-defined]

REGION = "sa-east-1"
BIN = Path(__file__).parent / "bin"


@dataclass
class TestBed:
    """A running account.

    Args:
        url: what AWS_ENDPOINT_URL is to be.
        folder: of files that are gone with the account.
    """

    __test__ = False  # not a test, whatever pytest thinks of its name

    url: str
    eks: Eks
    kubernetes: Kubernetes
    faults: Faults
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to be in this account, and in no other."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIATESTBEDADMIN0000",
            "AWS_SECRET_ACCESS_KEY": "of-the-test-bed",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "COMANDA_TESTBED_PYTHON": sys.executable,
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    def session(self) -> boto3.Session:
        """Answer a session of the account's administrator."""
        return session_of("AKIATESTBEDADMIN0000", "of-the-test-bed")

    def client(self, service: str) -> Any:
        """Answer a client of the account's administrator, for what a test does by hand."""
        make: Any = self.session().client
        return make(service, endpoint_url=self.url)

    def arm(self, action: str, **fault: Any) -> Fault:
        """Let AWS fail the next call of an action ("ec2:CreateVpc"), as `faults.Fault` says."""
        armed = Fault(action, **fault)
        self.faults.arm(armed)
        return armed

    @property
    def calls(self) -> list[str]:
        """Every call that came, in order."""
        return self.faults.calls


MODELS = Loader(include_default_search_paths=True)
"""AWS's models as botocore reads them: megabytes, read once for all sessions here."""


def session_of(key: str, secret: str) -> boto3.Session:
    """Answer a session with these keys."""
    inner = get_session()
    inner.register_component("data_loader", MODELS)
    return boto3.Session(
        aws_access_key_id=key, aws_secret_access_key=secret, region_name=REGION, botocore_session=inner
    )


@contextmanager
def running_testbed(port: int = 0, looks: int = 1) -> Iterator[TestBed]:
    """Run an account until the block ends; one at a time in a process, since moto's state is the process's.

    Args:
        port: on loopback; 0 takes a free one.
        looks: how often a thing of EKS is looked at before it is done.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    address = moto.get_host_and_port()
    moto_url = f"http://{address[0]}:{address[1]}"
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in clients:
            make: Any = session_of("AKIATESTBEDADMIN0000", "of-the-test-bed").client
            clients[service] = make(service, endpoint_url=moto_url)
        return clients[service]

    eks = Eks(client, REGION, looks)
    kubernetes = Kubernetes(eks, client)
    faults = Faults()
    server = serve(
        Front(DomainDispatcherApplication(create_backend_app), eks, kubernetes, Simulator(client), faults), port
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    folder = tempfile.TemporaryDirectory(prefix="comanda-testbed-")
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield TestBed(url, eks, kubernetes, faults, Path(folder.name))
    finally:
        folder.cleanup()
        server.shutdown()
        server.server_close()
        urllib.request.urlopen(urllib.request.Request(f"{moto_url}/moto-api/reset", method="POST")).close()  # noqa: S310
        moto.stop()
