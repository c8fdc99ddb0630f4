"""What a running cluster says of itself in `.comanda/cluster.json`, and the environment of those who work on it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.infrastructure import AWS_KEYS
from tests.cluster.layout import REGION, Layout
from tests.cluster.machine import Failed


def read(where: Layout) -> dict[str, str]:
    """Answer what stands there.

    Raises:
        Failed: no cluster is running.
    """
    if not where.facts.exists():
        raise Failed("no cluster is running: make cluster")
    found: dict[str, str] = json.loads(where.facts.read_text(encoding="utf-8"))
    return found


def write(where: Layout, facts: Mapping[str, str]) -> None:
    """Write it, for the owner alone, whole or not at all."""
    where.facts.parent.mkdir(exist_ok=True)
    new = where.facts.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    new.replace(where.facts)


def environment(facts: Mapping[str, str]) -> dict[str, str]:
    """Answer the environment in which the product's scripts work on the cluster, and on nothing else."""
    return {
        "KUBECONFIG": facts["kubeconfig"],
        "AWS_ENDPOINT_URL": facts["aws"],
        **AWS_KEYS,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PATH": f"{Path(facts['kubectl']).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
