"""The emulated EC2, in which every volume and snapshot stands too, so that inventories find it by its tags."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
import grpc
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.cluster.ebs.parameters import DRIVERS, SNAPSHOT_NAME, VOLUME_NAME, Wish
from tests.cluster.ebs.server import Refused


class Account:
    """EC2 in one region.

    Args:
        url: of the emulated account, which takes any keys. Keys that this machine has are never used.
    """

    def __init__(self, url: str, region: str) -> None:
        # Whoever called tries again, after what was half done has been taken back. Botocore would not take it back.
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20)
        make: Any = boto3.Session("AKIATESTBEDADMIN0000", "of-the-test-bed", region_name=region).client
        self._ec2 = make("ec2", endpoint_url=url, config=config)
        self.region = region

    def make_volume(self, zone: str, gib: int, wish: Wish, tags: Mapping[str, str], snapshot: str) -> str:
        """Make a volume, and answer its id.

        Raises:
            Refused: EC2 does not.
        """
        with _asking():
            zones = self._ec2.describe_availability_zones()["AvailabilityZones"]
        if zone not in {each["ZoneName"] for each in zones}:
            # The emulated EC2 would take any.
            raise Refused(grpc.StatusCode.INTERNAL, f"InvalidZone.NotFound: there is no zone {zone}")
        more: dict[str, Any] = {"Iops": wish.iops, "Throughput": wish.throughput, "SnapshotId": snapshot}
        more["KmsKeyId"] = wish.key
        with _asking():
            made = self._ec2.create_volume(
                AvailabilityZone=zone,
                Size=gib,
                VolumeType=wish.kind,
                Encrypted=wish.encrypted,
                TagSpecifications=_tags("volume", tags),
                **{name: value for name, value in more.items() if value},
            )
        return str(made["VolumeId"])

    def make_snapshot(self, volume: str, tags: Mapping[str, str]) -> str:
        """Make a snapshot, and answer its id.

        Raises:
            Refused: EC2 does not.
        """
        with _asking():
            made = self._ec2.create_snapshot(
                VolumeId=volume,
                Description=f"Created by AWS EBS CSI driver for volume {volume}",
                TagSpecifications=_tags("snapshot", tags),
            )
        return str(made["SnapshotId"])

    def grow(self, volume: str, gib: int) -> None:
        """Let a volume be larger, unless it is already.

        Raises:
            Refused: EC2 does not.
        """
        with _asking():
            described = self._ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]
            if described["Size"] < gib:
                self._ec2.modify_volume(VolumeId=volume, Size=gib)

    def named(self, kind: str, name: str) -> list[str]:
        """Answer the ids of the volumes or snapshots that were made under a name.

        Args:
            kind: "volume" or "snapshot".
        """
        tag = VOLUME_NAME if kind == "volume" else SNAPSHOT_NAME
        return self._ids(kind, {"Name": f"tag:{tag}", "Values": [name]})

    def all(self) -> set[str]:
        """Answer the ids of all volumes and snapshots that a driver made."""
        made = {"Name": f"tag:{DRIVERS}", "Values": ["true"]}
        return {each for kind in ("volume", "snapshot") for each in self._ids(kind, made)}

    def remove(self, kind: str, one: str) -> None:
        """Remove a volume or snapshot; that there is none is well.

        Raises:
            Refused: EC2 does not.
        """
        try:
            with _asking():
                if kind == "volume":
                    self._ec2.delete_volume(VolumeId=one)
                else:
                    self._ec2.delete_snapshot(SnapshotId=one)
        except Refused as refusal:
            if refusal.code is not grpc.StatusCode.NOT_FOUND:
                raise

    def _ids(self, kind: str, only: dict[str, Any]) -> list[str]:
        found: list[str] = []
        with _asking():
            if kind == "volume":
                for page in self._ec2.get_paginator("describe_volumes").paginate(Filters=[only]):
                    found += [each["VolumeId"] for each in page["Volumes"]]
            else:
                for page in self._ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=[only]):
                    found += [each["SnapshotId"] for each in page["Snapshots"]]
        return found


def _tags(kind: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


@contextmanager
def _asking() -> Iterator[None]:
    """Say what EC2 refuses as the real driver says it."""
    try:
        yield
    except ClientError as error:
        found = error.response["Error"]
        missing = found["Code"].endswith("NotFound")
        code = grpc.StatusCode.NOT_FOUND if missing else grpc.StatusCode.INTERNAL
        raise Refused(code, f"{found['Code']}: {found['Message']}") from error
    except BotoCoreError as error:
        raise Refused(grpc.StatusCode.UNAVAILABLE, f"EC2 does not answer: {error}") from error
