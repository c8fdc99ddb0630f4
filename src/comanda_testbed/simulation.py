"""IAM's policy simulator: moto has none, so ministack's judges the policies that stand in moto."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

from comanda_testbed.answer import Answer


class Simulation:
    """Ministack, started when it is first asked.

    Args:
        client: answers a boto3 client of the account, to read policies with.
    """

    def __init__(self, client: Callable[[str], Any]) -> None:
        """Start nothing yet."""
        self._client = client
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._lock = threading.Lock()

    def answer(self, asked: dict[str, list[str]]) -> Answer:
        """Answer SimulatePrincipalPolicy by SimulateCustomPolicy over the principal's own policies."""
        self._start()
        source = asked.pop("PolicySourceArn")[0]
        asked["Action"] = ["SimulateCustomPolicy"]
        for number, document in enumerate(self._policies(source), start=1):
            asked[f"PolicyInputList.member.{number}"] = [json.dumps(document)]
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/",
            urlencode(asked, doseq=True).encode(),
            {"Authorization": SIGNED, "Content-Type": "application/x-www-form-urlencoded"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - loopback
            text: bytes = response.read()
        return Answer(
            200, text.replace(b"SimulateCustomPolicy", b"SimulatePrincipalPolicy"), {"Content-Type": "text/xml"}
        )

    def close(self) -> None:
        """End ministack, if it runs."""
        if self._process:
            self._process.terminate()
            self._process.wait()

    def _start(self) -> None:
        with self._lock:
            if self._process:
                return
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self._port = free.getsockname()[1]
            environment = {
                **os.environ,
                "GATEWAY_PORT": str(self._port),
                "BIND_HOST": "127.0.0.1",
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                "LOG_LEVEL": "ERROR",
            }
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ministack"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._await()

    def _await(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/_ministack/health", timeout=5).close()
            except urllib.error.HTTPError:
                return  # whatever it says, it speaks
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def _policies(self, arn: str) -> Iterator[dict[str, Any]]:
        kind, name = re.sub(r".*:", "", arn).split("/")[0], arn.rsplit("/", maxsplit=1)[-1]
        iam = self._client("iam")
        if kind not in {"user", "role"}:
            return
        owner = {"UserName" if kind == "user" else "RoleName": name}
        inline = getattr(iam, f"list_{kind}_policies")(**owner)["PolicyNames"]
        for each in inline:
            yield getattr(iam, f"get_{kind}_policy")(**owner, PolicyName=each)["PolicyDocument"]
        for each in getattr(iam, f"list_attached_{kind}_policies")(**owner)["AttachedPolicies"]:
            policy = iam.get_policy(PolicyArn=each["PolicyArn"])["Policy"]
            version = iam.get_policy_version(PolicyArn=each["PolicyArn"], VersionId=policy["DefaultVersionId"])
            yield version["PolicyVersion"]["Document"]


SIGNED = "AWS4-HMAC-SHA256 Credential=AKIATESTBED/20261101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0"
