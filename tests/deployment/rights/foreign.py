"""The same requests as they would be on somebody else's things, or with something else in them."""

import re
from collections.abc import Iterator

from tests.deployment.rights.request import EVERYTHING, Request, Value

OTHERWISE: dict[str, Value | None] = {
    "aws:RequestTag/Project": "somebody",
    "ec2:CreateAction": None,
    "ec2:LaunchTemplate": None,
    "iam:PassedToService": "lambda.amazonaws.com",
    "route53:ChangeResourceRecordSetsActions": ("CREATE",),
    "route53:ChangeResourceRecordSetsRecordTypes": ("NS",),
}
"""What a request may say otherwise than ours do; None: nothing at all."""

OURS = re.compile(
    r"(?<=[:/])(comanda[\w-]*|AWS_EKS_\w+|Comanda\w*|AWSReservedSSO\w*|AWSServiceRoleForAmazonEKS\w*)(?=[:/]|$|-)"
)
"""Our names in an ARN."""


def on_somebody_elses(request: Request) -> Request | None:
    """Answer the request on a thing that is not ours: of another name, and with others' tags on it.

    None where there is no thing: for what is yet to be made, and for a look at everything.
    It asks for our tag all the same, wherever AWS might put that: a stranger's thing is still a stranger's.
    """
    if request.resource == EVERYTHING or request.resource.endswith("/*"):
        return None
    foreign = request.but(without=["aws:ResourceTag/"], resource=_renamed(request.resource))
    return foreign.having(
        {
            "aws:ResourceTag/Project": "somebody",
            "aws:ResourceTag/Name": "somebody",
            "aws:RequestTag/Project": "comanda",
            "aws:TagKeys": ("Project",),
        }
    )


def said_otherwise(request: Request) -> Iterator[Request]:
    """Answer the request with each thing said otherwise that could be."""
    for key, value in OTHERWISE.items():
        if key in dict(request.context):
            less = request.but(without=[key])
            yield less if value is None else less.having({key: value})


def _renamed(arn: str) -> str:
    *owner, what = arn.split(":", maxsplit=5)
    return ":".join([*owner, OURS.sub("somebody", f"/{what}")[1:]])
