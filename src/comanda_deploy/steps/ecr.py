"""Step 3: the registry of Comanda's image."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from comanda_deploy.aws_errors import code_of
from comanda_deploy.context import Context
from comanda_deploy.names import REPOSITORY, TAG, TAG_VALUE, tag_list
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step

KEPT_IMAGES = 50
"""A day of ten deployments for a working week: whatever a rollback wants is among them."""

LIFECYCLE: dict[str, Any] = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "what no tag names any more",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": 7,
            },
            "action": {"type": "expire"},
        },
        {
            "rulePriority": 2,
            "description": "all but the newest",
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": KEPT_IMAGES},
            "action": {"type": "expire"},
        },
    ]
}


@dataclass(frozen=True)
class EcrFacts:
    """The repository as it is.

    Args:
        lifecycle: its rules as canonical JSON, "" if there are none.
    """

    arn: str = ""
    immutable: bool = True
    scanned: bool = True
    tagged: bool = True
    lifecycle: str = ""
    images: int = 0


class Ecr(Step[EcrFacts]):
    """A tag is never moved, every image is scanned, old ones go."""

    name = "ecr"
    about = "the registry of Comanda's image"

    def observe(self, context: Context) -> EcrFacts:
        """Read the repository and its rules."""
        ecr = context.client("ecr")
        try:
            found = ecr.describe_repositories(repositoryNames=[REPOSITORY])["repositories"][0]
        except ClientError as error:
            if code_of(error) == "RepositoryNotFoundException":
                return EcrFacts()
            raise
        tags = ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
        return EcrFacts(
            arn=found["repositoryArn"],
            immutable=found["imageTagMutability"] == "IMMUTABLE",
            scanned=found["imageScanningConfiguration"]["scanOnPush"],
            tagged={"Key": TAG, "Value": TAG_VALUE} in tags,
            lifecycle=_lifecycle(context),
            images=len(context.pages("ecr", "list_images", "imageIds", repositoryName=REPOSITORY)),
        )

    def decide(self, settings: Settings, facts: EcrFacts) -> list[Change]:  # noqa: ARG002 - none applies
        """Make it, or mend what differs."""
        what, changes = f"repository {REPOSITORY}", []
        if not facts.arn:
            changes.append(Change(Kind.CREATE, what, "immutable tags, scanned on push, encrypted", do=_create))
        if not facts.immutable:
            changes.append(Change(Kind.CHANGE, what, "immutable tags", do=_make_immutable))
        if not facts.scanned:
            changes.append(Change(Kind.CHANGE, what, "scanned on push", do=_scan))
        if not facts.tagged:
            changes.append(Change(Kind.CHANGE, what, f"tag {TAG}", do=partial(_tag, arn=facts.arn)))
        if facts.lifecycle != _canonical(LIFECYCLE):
            changes.append(Change(Kind.CHANGE, what, f"keep the newest {KEPT_IMAGES} images", do=_put_lifecycle))
        return changes

    def decide_removal(self, settings: Settings, facts: EcrFacts) -> list[Change]:
        """Delete it with its images, unless they are to be kept."""
        if not facts.arn:
            return []
        if "images" in settings.destroy.keep:
            return [Change(Kind.NOTE, f"repository {REPOSITORY}", "kept")]
        return [Change(Kind.DELETE, f"repository {REPOSITORY}", f"and its {facts.images} images", do=_delete)]


def _canonical(rules: dict[str, Any]) -> str:
    return json.dumps(rules, sort_keys=True)


def _lifecycle(context: Context) -> str:
    try:
        answer = context.client("ecr").get_lifecycle_policy(repositoryName=REPOSITORY)
    except ClientError as error:
        if code_of(error) == "LifecyclePolicyNotFoundException":
            return ""
        raise
    return _canonical(json.loads(answer["lifecyclePolicyText"]))


def _create(context: Context) -> None:
    context.client("ecr").create_repository(
        repositoryName=REPOSITORY,
        tags=tag_list(),
        imageTagMutability="IMMUTABLE",
        imageScanningConfiguration={"scanOnPush": True},
        encryptionConfiguration={"encryptionType": "AES256"},
    )


def _make_immutable(context: Context) -> None:
    context.client("ecr").put_image_tag_mutability(repositoryName=REPOSITORY, imageTagMutability="IMMUTABLE")


def _scan(context: Context) -> None:
    context.client("ecr").put_image_scanning_configuration(
        repositoryName=REPOSITORY, imageScanningConfiguration={"scanOnPush": True}
    )


def _tag(context: Context, arn: str) -> None:
    context.client("ecr").tag_resource(resourceArn=arn, tags=tag_list())


def _put_lifecycle(context: Context) -> None:
    context.client("ecr").put_lifecycle_policy(repositoryName=REPOSITORY, lifecyclePolicyText=json.dumps(LIFECYCLE))


def _delete(context: Context) -> None:
    context.client("ecr").delete_repository(repositoryName=REPOSITORY, force=True)
