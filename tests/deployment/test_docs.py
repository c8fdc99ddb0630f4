"""The operator's pages say what is so: the steps by their names, the policies action by action, links that lead."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from comanda_deploy.runbook import BOOTSTRAP, REMOVAL, STEPS
from comanda_deploy.steps.roles import FOLDER, ROLES
from comanda_deploy.verbs import DEPLOY, MANAGE

ROOT = Path(__file__).parents[2]
RUNBOOK = ROOT / "docs" / "runbook.md"
POLICIES = ROOT / "infra" / "infra.md"
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / "infra").rglob("*.md")])

# What the old runbook allowed: by the policy and whose it was, the actions of each service.
RUNBOOK_POLICIES = {
    "EKSCLIAccessPolicy, on the user": {
        "cloudformation": "CreateStack ListStacks",
        "ec2": "DescribeKeyPairs",
        "ecr": """
            BatchCheckLayerAvailability BatchGetImage CompleteLayerUpload CreateRepository DescribeImages
            DescribeRepositories GetAuthorizationToken GetDownloadUrlForLayer InitiateLayerUpload
            ListImages PutImage UploadLayerPart
        """,
        "eks": """
            CreateCluster CreateNodegroup DeleteCluster DeleteNodegroup DescribeCluster DescribeNodegroup
            ListClusters ListNodegroups TagResource UpdateClusterConfig UpdateClusterVersion
            UpdateNodegroupConfig
        """,
        "iam": """
            * CreateOpenIDConnectProvider CreateRole GetOpenIDConnectProvider GetRole PassRole
            TagOpenIDConnectProvider
        """,
    },
    "AWSEKSExtraPermissions, on AWS_EKS_ROLE": {
        "eks": """
            CreateNodegroup DeleteNodegroup DescribeCluster DescribeNodegroup ListClusters ListNodegroups
            UpdateClusterConfig UpdateClusterVersion UpdateNodegroupConfig
        """,
        "iam": "PassRole",
        "logs": "CreateLogGroup CreateLogStream DescribeLogGroups DescribeLogStreams PutLogEvents",
        "secretsmanager": "GetSecretValue ListSecrets",
        "servicequotas": "GetServiceQuota ListServiceQuotas RequestServiceQuotaIncrease",
    },
    "EKSExtraPermissions, on AWS_EKS_NODE_GROUP_ROLE": {
        "autoscaling": """
            DescribeAutoScalingGroups DescribeAutoScalingInstances DescribeLaunchConfigurations
            DescribeTags SetDesiredCapacity TerminateInstanceInAutoScalingGroup
        """,
        "ec2": """
            AttachVolume CreateSnapshot CreateTags CreateVolume DeleteSnapshot DeleteVolume
            DescribeInstances DescribeLaunchTemplateVersions DescribeSnapshots DescribeVolumeStatus
            DescribeVolumes DetachVolume ModifyVolume
        """,
        "secretsmanager": "GetSecretValue ListSecrets",
    },
    "K8SASGPolicy, on the autoscaler's service account": {
        "autoscaling": """
            DescribeAutoScalingGroups DescribeAutoScalingInstances DescribeLaunchConfigurations
            DescribeTags SetDesiredCapacity TerminateInstanceInAutoScalingGroup
        """,
        "ec2": "DescribeLaunchTemplateVersions",
    },
}
MANAGED = {
    "AmazonEKSClusterPolicy": {
        "autoscaling": "DescribeAutoScalingGroups UpdateAutoScalingGroup",
        "ec2": """
            AttachVolume AuthorizeSecurityGroupIngress CreateRoute CreateSecurityGroup CreateTags
            CreateVolume DeleteNetworkInterface DeleteRoute DeleteSecurityGroup DeleteVolume
            DescribeAccountAttributes DescribeAddresses DescribeAvailabilityZones DescribeDhcpOptions
            DescribeInstanceTopology DescribeInstances DescribeInternetGateways DescribeNetworkInterfaces
            DescribeRouteTables DescribeSecurityGroups DescribeSubnets DescribeVolumes
            DescribeVolumesModifications DescribeVpcs DetachVolume ModifyInstanceAttribute ModifyVolume
            RevokeSecurityGroupIngress
        """,
        "elasticloadbalancing": """
            AddTags ApplySecurityGroupsToLoadBalancer AttachLoadBalancerToSubnets ConfigureHealthCheck
            CreateListener CreateLoadBalancer CreateLoadBalancerListeners CreateLoadBalancerPolicy
            CreateTargetGroup DeleteListener DeleteLoadBalancer DeleteLoadBalancerListeners
            DeleteTargetGroup DeregisterInstancesFromLoadBalancer DeregisterTargets DescribeListeners
            DescribeLoadBalancerAttributes DescribeLoadBalancerPolicies DescribeLoadBalancers
            DescribeTargetGroupAttributes DescribeTargetGroups DescribeTargetHealth
            DetachLoadBalancerFromSubnets ModifyListener ModifyLoadBalancerAttributes ModifyTargetGroup
            ModifyTargetGroupAttributes RegisterInstancesWithLoadBalancer RegisterTargets
            SetLoadBalancerPoliciesForBackendServer SetLoadBalancerPoliciesOfListener
        """,
        "iam": "CreateServiceLinkedRole",
        "kms": "DescribeKey",
    },
    "AmazonEKSServicePolicy": {
        "ec2": """
            CreateNetworkInterface CreateNetworkInterfacePermission CreateTags DeleteNetworkInterface
            DeleteTags DescribeInstances DescribeNetworkInterfaces DescribeSecurityGroups DescribeSubnets
            DescribeVpcs DetachNetworkInterface GetSecurityGroupsForVpc ModifyNetworkInterfaceAttribute
        """,
        "eks": "UpdateClusterVersion",
        "iam": "CreateServiceLinkedRole ListAttachedRolePolicies",
        "logs": "CreateLogGroup CreateLogStream DescribeLogStreams PutLogEvents",
        "route53": "AssociateVPCWithHostedZone",
    },
    "AmazonEC2ContainerRegistryReadOnly": {
        "ecr": """
            BatchCheckLayerAvailability BatchGetImage DescribeImageScanFindings DescribeImages
            DescribeRepositories GetAuthorizationToken GetDownloadUrlForLayer GetLifecyclePolicy
            GetLifecyclePolicyPreview GetRepositoryPolicy ListImages ListTagsForResource
        """,
    },
    "AmazonEKS_CNI_Policy": {
        "ec2": """
            AssignPrivateIpAddresses AttachNetworkInterface CreateNetworkInterface CreateTags
            DeleteNetworkInterface DescribeInstanceTypes DescribeInstances DescribeNetworkInterfaces
            DescribeSecurityGroups DescribeSubnets DescribeTags DetachNetworkInterface
            ModifyNetworkInterfaceAttribute UnassignPrivateIpAddresses
        """,
    },
    "AmazonEKSWorkerNodePolicy": {
        "ec2": """
            DescribeInstanceTypes DescribeInstances DescribeRouteTables DescribeSecurityGroups
            DescribeSubnets DescribeVolumes DescribeVolumesModifications DescribeVpcs
        """,
        "eks-auth": "AssumeRoleForPodIdentity",
        "eks": "DescribeCluster",
    },
}
# Where AWS's own policies were attached.
ATTACHED = (
    ("AmazonEKSClusterPolicy", "the user"),
    ("AmazonEKSServicePolicy", "the user"),
    ("AmazonEKSClusterPolicy", "AWS_EKS_ROLE"),
    ("AmazonEC2ContainerRegistryReadOnly", "AWS_EKS_NODE_GROUP_ROLE"),
    ("AmazonEKS_CNI_Policy", "AWS_EKS_NODE_GROUP_ROLE"),
    ("AmazonEKSWorkerNodePolicy", "AWS_EKS_NODE_GROUP_ROLE"),
)

ORIGINAL = {**RUNBOOK_POLICIES, **{f"{policy}, on {whose}": MANAGED[policy] for policy, whose in ATTACHED}}

ROW = re.compile(r"\| `(?P<action>[a-z0-9-]+:[A-Za-z0-9*]+)` \| (?P<now>\w+) \| (?P<where>.+?) \| (?P<why>.+?) \|")


def actions(by_service: dict[str, str]) -> set[str]:
    return {f"{service}:{name}" for service, names in by_service.items() for name in names.split()}


def sections(page: Path, mark: str) -> dict[str, list[str]]:
    """Answer the lines under each heading that begins with exactly `mark`, until the next one of any rank above it."""
    found: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in unfenced(page):
        heading = re.match(r"(#+) (.+)", line)
        if heading and len(heading[1]) <= len(mark):
            lines = None
            if heading[1] == mark:
                assert heading[2] not in found, f"{page.name} has {heading[2]} twice"
                lines = found[heading[2]] = []
        elif lines is not None:
            lines.append(line)
    return found


def unfenced(page: Path) -> list[str]:
    """Answer a page's lines without those of its code blocks, in which a # is no heading."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()


def table() -> dict[str, list[dict[str, str]]]:
    """Answer the table's rows, by the old policy and whose it was."""
    return {
        policy: [match.groupdict() for line in lines if (match := ROW.fullmatch(line))]
        for policy, lines in sections(POLICIES, "##").items()
        if policy in ORIGINAL
    }


ROWS = [pytest.param(policy, row, id=f"{policy}-{row['action']}") for policy, rows in table().items() for row in rows]


def statements(file: str) -> dict[str, list[str]]:
    """Answer the actions of each statement of a policy file, by its Sid."""
    loaded: dict[str, Any] = json.loads((FOLDER / file).read_text(encoding="utf-8"))
    assert all(each["Effect"] == "Allow" for each in loaded["Statement"])
    found = {each["Sid"]: each["Action"] for each in loaded["Statement"]}
    assert len(found) == len(loaded["Statement"]), f"{file} has a Sid twice"
    return {sid: [those] if isinstance(those, str) else those for sid, those in found.items()}


def test_the_runbook_has_a_heading_for_each_step_in_order() -> None:
    only_in_removal = [step.name for step in reversed(REMOVAL) if step not in STEPS]

    headings = [heading[3:] for heading in sections(RUNBOOK, "#")["Runbook"] if heading.startswith("## ")]

    assert headings == [*(step.name for step in (*BOOTSTRAP, *STEPS)), *only_in_removal]


@pytest.mark.parametrize("step", [*BOOTSTRAP, *STEPS], ids=lambda step: step.name)
def test_a_step_says_its_verbs_and_its_command(step: Any) -> None:
    text = "\n".join(sections(RUNBOOK, "##")[step.name])

    verbs = [name for each in (*DEPLOY, *MANAGE) if step.name in each.steps for name in (each.name, *each.aliases)]
    assert [verb for verb in verbs if f"`{verb}`" not in text and f" {verb}`" not in text] == []
    assert re.search(rf"`comanda-deploy (step ([a-z-]+ )*)?{step.name}`", text), "the command is not named"


@pytest.mark.parametrize("policy", ORIGINAL)
def test_every_action_of_the_old_policies_has_its_row(policy: str) -> None:
    rows = [row["action"] for row in table()[policy]]

    assert sorted(rows) == sorted(actions(ORIGINAL[policy])), "one row for each action, and none beside"


@pytest.mark.parametrize(("policy", "row"), ROWS)
def test_a_row_says_what_the_files_say(policy: str, row: dict[str, str]) -> None:
    action, now, where = row["action"], row["now"], row["where"]
    assert now in {"kept", "narrowed", "moved", "dropped"}
    if now == "dropped":
        assert where == "-"
    elif attached := re.fullmatch(r"`(\w+)` on `(\w+)`", where):
        assert policy == f"{attached[1]}, on {attached[2]}"
        assert f"aws:{attached[1]}" in ROLES[attached[2]][1]
    else:
        for part in where.split("; "):
            file, _, named = part.partition(": ")
            there = statements(file.strip("`"))
            for sid in (each.strip("`") for each in named.split(", ")):
                assert action in there[sid], f"{file} {sid} does not allow {action}"


def test_what_the_operator_lost_is_really_gone() -> None:
    files = ("EKSCLIAccessPolicy-cluster.json", "EKSCLIAccessPolicy-network.json", "EKSCLIAccessPolicy-services.json")
    allowed = {action for file in files for those in statements(file).values() for action in those}

    dropped = {
        row["action"]
        for policy, rows in table().items()
        if policy.endswith("on the user")
        for row in rows
        if row["now"] == "dropped"
    }

    assert dropped & allowed == set()
    assert not [action for action in allowed if "*" in action], "an action by pattern allows more than the table says"


def test_every_file_and_statement_that_the_page_names_is_there() -> None:
    text = "\n".join(unfenced(POLICIES))

    named = set(re.findall(r"`([\w-]+\.json)`", text))
    pairs = re.findall(r"`([\w-]+\.json)`: ((?:`\w+`(?:, )?)+)", text)

    assert named == {file.name for file in FOLDER.glob("*.json")}
    for file, sids in pairs:
        assert set(re.findall(r"\w+", sids)) <= set(statements(file)), f"{file} has not all of {sids}"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.name)
def test_a_policy_fits_into_what_iam_takes(file: Path) -> None:
    assert len(re.sub(r"\s", "", file.read_text(encoding="utf-8"))) <= 6144


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", "\n".join(unfenced(page)))

    lost = [
        link
        for link in links
        if not re.match(r"[a-z]+:", link)
        and not link.startswith("#")
        and not (page.parent / link.split("#")[0]).exists()
    ]

    assert lost == []
