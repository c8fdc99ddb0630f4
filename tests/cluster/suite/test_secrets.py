"""What stands in Secrets Manager reaches the cluster, and so does its change."""

import base64
import json
from typing import Any

import boto3
import pytest

from tests.cluster.suite.kube import Space, facts, until

pytestmark = [pytest.mark.cluster, pytest.mark.needs("external-secrets")]


def secrets_manager() -> Any:
    make: Any = boto3.Session("AKIATESTBEDADMIN0000", "of-the-test-bed", region_name="sa-east-1").client
    return make("secretsmanager", endpoint_url=facts()["aws"])


def test_a_secret_and_its_change_arrive(space: Space) -> None:
    client, name = secrets_manager(), f"comanda/{space.name}"
    client.create_secret(Name=name, SecretString=json.dumps({"PASSWORD": "the first"}))
    try:
        space.apply(
            {
                "apiVersion": "external-secrets.io/v1",
                "kind": "SecretStore",
                "metadata": {"name": "aws"},
                "spec": {"provider": {"aws": {"service": "SecretsManager", "region": "sa-east-1"}}},
            },
            {
                "apiVersion": "external-secrets.io/v1",
                "kind": "ExternalSecret",
                "metadata": {"name": "copied"},
                "spec": {
                    "refreshInterval": "2s",
                    "secretStoreRef": {"kind": "SecretStore", "name": "aws"},
                    "target": {"name": "copied"},
                    "dataFrom": [{"extract": {"key": name}}],
                },
            },
        )
        space.wait("externalsecret/copied", "condition=Ready")
        assert password(space) == "the first"
        client.put_secret_value(SecretId=name, SecretString=json.dumps({"PASSWORD": "the second"}))
        until("the second password", lambda: password(space) == "the second")
    finally:
        client.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


def password(space: Space) -> str:
    return base64.b64decode(space.get("secret", "copied")["data"]["PASSWORD"]).decode()
