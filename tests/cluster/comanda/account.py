"""The emulated AWS account beside the cluster, as an operator uses it: through AWS' API."""

import json
from collections.abc import Mapping
from typing import Any

import boto3

from comanda_deploy.names import API_SECRET
from tests.cluster.infrastructure import AWS_KEYS
from tests.cluster.layout import REGION


def client(facts: Mapping[str, str], service: str) -> Any:
    """Answer boto3's client of a service.

    Args:
        facts: of the cluster.
    """
    keys = {name.lower(): AWS_KEYS[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    return boto3.client(service, endpoint_url=facts["aws"], region_name=REGION, **keys)  # type: ignore[call-overload]


def change(facts: Mapping[str, str], **values: str) -> dict[str, str]:
    """Set keys of the entry `comanda/api` in Secrets Manager, and answer all of it.

    Args:
        facts: of the cluster. values: settings by name.
    """
    manager = client(facts, "secretsmanager")
    entry: dict[str, str] = json.loads(manager.get_secret_value(SecretId=API_SECRET)["SecretString"])
    entry |= values
    manager.put_secret_value(SecretId=API_SECRET, SecretString=json.dumps(entry))
    return entry
