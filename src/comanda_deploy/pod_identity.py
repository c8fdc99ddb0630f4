"""Pod Identity: which service account is which IAM role, without an ARN in any manifest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from botocore.exceptions import ClientError

from comanda_deploy.aws_errors import code_of
from comanda_deploy.context import Context
from comanda_deploy.names import CLUSTER, tags
from comanda_deploy.step import Change, Kind


@dataclass(frozen=True)
class Identity:
    """A service account and the role that it takes."""

    namespace: str
    service_account: str
    role: str

    def __str__(self) -> str:
        """Answer the service account as kubectl names it, and its role."""
        return f"{self.namespace}/{self.service_account} as {self.role}"


@dataclass(frozen=True)
class Association:
    """An identity as EKS has it."""

    id: str
    role: str


@dataclass(frozen=True)
class IdentityFacts:
    """What EKS has of the identities asked for, by service account, and which of their roles IAM has."""

    cluster: bool = False
    associations: tuple[tuple[Identity, Association], ...] = ()
    roles: tuple[tuple[str, str], ...] = ()


def observe(context: Context, identities: Sequence[Identity]) -> IdentityFacts:
    """Read what there is of the identities.

    Their roles are made by bootstrap: EKS does not look whether a role exists.
    """
    facts = observe_removal(context, identities)
    return replace(facts, roles=tuple((each.role, arn) for each in identities if (arn := role_arn(context, each.role))))


def observe_removal(context: Context, identities: Sequence[Identity]) -> IdentityFacts:
    """Read the same, but for the roles: nobody needs them to take an identity away."""
    eks, found = context.client("eks"), []
    for each in identities:
        try:
            listed = eks.list_pod_identity_associations(
                clusterName=CLUSTER, namespace=each.namespace, serviceAccount=each.service_account
            )["associations"]
        except ClientError as error:
            if code_of(error) == "ResourceNotFoundException":
                return IdentityFacts()  # there is no cluster
            raise
        for one in listed:
            association = eks.describe_pod_identity_association(
                clusterName=CLUSTER, associationId=one["associationId"]
            )["association"]
            found.append((each, Association(one["associationId"], association["roleArn"].split("/")[-1])))
    return IdentityFacts(True, tuple(found))


def role_arn(context: Context, name: str) -> str | None:
    """Answer the ARN of a role, None if there is none."""
    try:
        arn: str = context.client("iam").get_role(RoleName=name)["Role"]["Arn"]
    except ClientError as error:
        if code_of(error) == "NoSuchEntity":
            return None
        raise
    return arn


def decide(identities: Sequence[Identity], facts: IdentityFacts) -> Iterator[Change]:
    """Answer the associations to be made or mended."""
    there, roles = dict(facts.associations), dict(facts.roles)
    for each in identities:
        association = there.get(each)
        if each.role not in roles:
            mend = ("have an administrator run comanda-deploy bootstrap",)
            yield Change(Kind.REFUSED, f"identity {each}", f"there is no role {each.role}", mend=mend)
        elif association is None:
            arn = roles[each.role]
            yield Change(Kind.CREATE, f"identity {each}", do=partial(_create, identity=each, arn=arn))
        elif association.role != each.role:
            change = partial(_change, association=association.id, arn=roles[each.role])
            yield Change(Kind.CHANGE, f"identity {each}", f"it was {association.role}", do=change)


def decide_removal(facts: IdentityFacts) -> Iterator[Change]:
    """Answer the associations to be removed."""
    for each, association in facts.associations:
        yield Change(Kind.DELETE, f"identity {each}", do=partial(_delete, association=association.id))


def _create(context: Context, identity: Identity, arn: str) -> None:
    context.client("eks").create_pod_identity_association(
        clusterName=CLUSTER,
        namespace=identity.namespace,
        serviceAccount=identity.service_account,
        roleArn=arn,
        clientRequestToken=f"comanda-{identity.namespace}-{identity.service_account}"[:64],
        tags=tags(),
    )


def _change(context: Context, association: str, arn: str) -> None:
    context.client("eks").update_pod_identity_association(clusterName=CLUSTER, associationId=association, roleArn=arn)


def _delete(context: Context, association: str) -> None:
    context.client("eks").delete_pod_identity_association(clusterName=CLUSTER, associationId=association)
