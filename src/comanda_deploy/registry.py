"""The account's image registry: which image is newest, and whether one that a manifest names is there."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum
from typing import Any

from botocore.exceptions import ClientError

from comanda_deploy.aws_errors import code_of
from comanda_deploy.context import Context
from comanda_deploy.manifests import HAS_A_HOST
from comanda_deploy.names import REPOSITORY

OF_ECR = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")


class Verdict(StrEnum):
    """What is known of an image that a manifest names."""

    THERE = "it is in the account's registry"
    MISSING = "the account's registry has no such image"
    NAMELESS = "it names no registry, and EKS's nodes would look for it at Docker Hub"
    NO_REPOSITORY = "it was not pushed yet: the account has no image repository"
    ELSEWHERE = "it is in another registry or repository, where nobody looked"
    AS_NODES_KNOW = "it names no registry: the nodes must have one for it"

    @property
    def is_lacking(self) -> bool:
        """Whether its pods could not start."""
        return self in {Verdict.MISSING, Verdict.NAMELESS}


@dataclass(frozen=True)
class Image:
    """An image in the account's registry.

    Args:
        pushed: when, in UTC, as "2026-11-25 14:30".
    """

    tag: str
    digest: str
    pushed: str


def newest(context: Context) -> Image | None:
    """Answer the image that was pushed last, None if there is none."""
    found = [each for each in _images(context) if each.get("imageTags")]
    if not found:
        return None
    last = max(found, key=lambda each: each["imagePushedAt"])
    pushed = f"{last['imagePushedAt'].astimezone(UTC):%Y-%m-%d %H:%M}"
    # One digest may have several tags; ours begin with the time.
    return Image(max(last["imageTags"]), last["imageDigest"], pushed)


def verdicts(context: Context, images: Iterable[str]) -> dict[str, Verdict]:
    """Answer what is known of images.

    The rule: an image in our repository of the account's own registry must be there. One that names no registry cannot
    be had by EKS's nodes; where AWS is emulated the nodes are not EKS's, and may have a mirror for it. Of other
    registries and repositories nobody knows who may read them. Before there is a repository nothing can have been
    pushed, and no plan is held up by that.
    """
    return {image: _verdict(context, image) for image in images}


def _verdict(context: Context, image: str) -> Verdict:
    host = image.partition("/")[0] if "/" in image else ""
    of_ecr = OF_ECR.fullmatch(host)
    own = of_ecr is not None and (of_ecr["account"], of_ecr["region"]) == (context.account_id, context.region)
    repository = image.removeprefix(f"{host}/").partition("@")[0].partition(":")[0]
    if HAS_A_HOST.fullmatch(host) and not (own and repository == REPOSITORY):
        return Verdict.ELSEWHERE
    if not own and not context.in_aws:
        return Verdict.AS_NODES_KNOW
    if not _has_repository(context):
        return Verdict.NO_REPOSITORY
    if not own:
        return Verdict.NAMELESS
    return Verdict.THERE if _is_there(context, image) else Verdict.MISSING


def _is_there(context: Context, image: str) -> bool:
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2] or "latest"
    return has(context, imageDigest=digest) if digest else has(context, imageTag=tag)


def has(context: Context, **image: str) -> bool:
    """Answer whether the account's repository has an image.

    Args:
        image: `imageTag` or `imageDigest`, as ECR's DescribeImages takes it.
    """
    try:
        context.client("ecr").describe_images(repositoryName=REPOSITORY, imageIds=[image])
    except ClientError as error:
        if code_of(error) == "ImageNotFoundException":
            return False
        raise
    return True


def _has_repository(context: Context) -> bool:
    try:
        context.client("ecr").describe_repositories(repositoryNames=[REPOSITORY])
    except ClientError as error:
        if code_of(error) == "RepositoryNotFoundException":
            return False
        raise
    return True


def _images(context: Context) -> list[dict[str, Any]]:
    try:
        return context.pages("ecr", "describe_images", "imageDetails", repositoryName=REPOSITORY)
    except ClientError as error:
        if code_of(error) == "RepositoryNotFoundException":
            return []
        raise
