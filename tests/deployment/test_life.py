"""The whole life of an account: built, looked at, changed by hand, mended, and taken down until nothing is left."""

import json
from collections.abc import Callable
from typing import Any

from comanda_deploy import inventory
from comanda_deploy.runbook import BOOTSTRAP, STEPS
from comanda_deploy.status import status_of
from tests.deployment.account import Account
from tests.deployment.leftovers import leave_behind

EVERYTHING_ALLOWED = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
EVERYTHING = [step.name for step in STEPS]


def test_an_account_built_looked_at_and_taken_down(account: Account) -> None:
    made = account.apply()
    assert "create EKS cluster comanda: Kubernetes 1.36" in made
    assert len([each for each in made if each.startswith("create node group")]) == 3

    calls = len(account.bed.calls)
    assert account.plan() == []
    assert account.apply() == [], "a second apply finds nothing to do"
    assert not changing(account.bed.calls[calls:]), "and touches nothing"

    status = status_of(account.context())
    assert status.healthy
    assert {part.status for part in status.parts} == {"ACTIVE"}

    leave_behind(account)
    account.destroy()
    assert inventory.take(account.context()) == []
    assert account.destroy() == [], "destroy can be run again"


def test_bootstrap_twice_changes_nothing_and_can_be_taken_back(account: Account) -> None:
    admin = account.bed.client("iam")
    account.session, account.clients = account.bed.session(), {}
    assert account.apply(BOOTSTRAP) == []
    admin.detach_role_policy(RoleName="AWS_EKS_ROLE", PolicyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")
    admin.attach_role_policy(RoleName="AWS_EKS_ROLE", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    admin.put_user_policy(UserName="comanda-operator", PolicyName="more", PolicyDocument=json.dumps(EVERYTHING_ALLOWED))
    assert account.apply(BOOTSTRAP) == [
        "change user comanda-operator: without inline policy more",
        "change role AWS_EKS_ROLE: policy AmazonEKSClusterPolicy",
        "change role AWS_EKS_ROLE: without policy AdministratorAccess",
    ]
    account.destroy(BOOTSTRAP)
    assert not [each for each in admin.list_roles()["Roles"] if "/aws-service-role/" not in each["Path"]]
    assert not admin.list_users()["Users"]
    assert not admin.list_policies(Scope="Local")["Policies"]


def test_a_plan_over_all_steps_touches_nothing_and_asks_for_nothing_twice(account: Account) -> None:
    account.apply()
    calls = len(account.bed.calls)
    answer = account.command("plan", "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["counts"]["unchanged_steps"] == len(STEPS)
    asked = account.bed.calls[calls:]
    assert not changing(asked)
    # How long it takes is `make bench`'s to measure; what decides it is how often AWS is asked.
    assert len(asked) <= 100


def test_a_plan_of_an_empty_account_needs_no_cluster_and_says_so_by_its_exit_code(account: Account) -> None:
    calls = len(account.bed.calls)
    answer = account.command("plan")
    assert answer.returncode == 2, answer.stderr
    assert not changing(account.bed.calls[calls:])
    for name in EVERYTHING:
        assert f"\n{name}: " in f"\n{answer.stdout}"
    assert "payments are found by asking alone" in answer.stdout


# Drift: what a hand did in the console, what plan says of it.

Ec2 = Any


def _subnet(ec2: Ec2, name: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_subnets(Filters=[{"Name": "tag:Name", "Values": [name]}])["Subnets"][0]
    return found


def _way_out_removed(account: Account) -> None:
    ec2 = account.bed.client("ec2")
    table = ec2.describe_route_tables(Filters=[{"Name": "tag:Name", "Values": ["comanda-public"]}])["RouteTables"][0]
    ec2.delete_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0")


def _tag_removed(account: Account) -> None:
    ec2 = account.bed.client("ec2")
    subnet = _subnet(ec2, "comanda-public-a")["SubnetId"]
    ec2.delete_tags(Resources=[subnet], Tags=[{"Key": "kubernetes.io/role/elb"}])


def _default_group_opened(account: Account) -> None:
    ec2 = account.bed.client("ec2")
    vpc = _subnet(ec2, "comanda-public-a")["VpcId"]
    found = ec2.describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    )["SecurityGroups"][0]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=found["GroupId"], IpPermissions=[rule])


def _tags_mutable(account: Account) -> None:
    account.bed.client("ecr").put_image_tag_mutability(repositoryName="comanda-api", imageTagMutability="MUTABLE")


def _images_kept_for_ever(account: Account) -> None:
    account.bed.client("ecr").delete_lifecycle_policy(repositoryName="comanda-api")


def _endpoint_opened(account: Account) -> None:
    account.bed.client("eks").update_cluster_config(
        name="comanda", resourcesVpcConfig={"publicAccessCidrs": ["0.0.0.0/0"]}
    )


def _audit_off(account: Account) -> None:
    logging = {"clusterLogging": [{"types": ["audit"], "enabled": False}]}
    account.bed.client("eks").update_cluster_config(name="comanda", logging=logging)


def _protection_off(account: Account) -> None:
    account.bed.client("eks").update_cluster_config(name="comanda", deletionProtection=False)


def _extended_support(account: Account) -> None:
    account.bed.client("eks").update_cluster_config(name="comanda", upgradePolicy={"supportType": "EXTENDED"})


def _another_administrator(account: Account) -> None:
    arn = "arn:aws:iam::123456789012:user/somebody"
    eks = account.bed.client("eks")
    eks.create_access_entry(clusterName="comanda", principalArn=arn)
    eks.associate_access_policy(
        clusterName="comanda",
        principalArn=arn,
        policyArn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
        accessScope={"type": "cluster"},
    )


def _logs_kept_for_ever(account: Account) -> None:
    account.bed.client("logs").delete_retention_policy(logGroupName="/aws/eks/comanda/cluster")


def _fewer_nodes(account: Account) -> None:
    account.bed.client("eks").update_nodegroup_config(
        clusterName="comanda",
        nodegroupName="comanda-general-a",
        scalingConfig={"minSize": 0, "maxSize": 1, "desiredSize": 0},
    )


def _database_label_removed(account: Account) -> None:
    account.bed.client("eks").update_nodegroup_config(
        clusterName="comanda", nodegroupName="comanda-database", labels={"removeLabels": ["comanda/node-group"]}
    )


def _ssh_key_in_the_template(account: Account) -> None:
    ec2 = account.bed.client("ec2")
    made = ec2.create_launch_template_version(
        LaunchTemplateName="comanda-nodes", SourceVersion="1", LaunchTemplateData={"KeyName": "mine"}
    )["LaunchTemplateVersion"]
    ec2.modify_launch_template(LaunchTemplateName="comanda-nodes", DefaultVersion=str(made["VersionNumber"]))


def _policies_off(account: Account) -> None:
    account.bed.client("eks").update_addon(
        clusterName="comanda", addonName="vpc-cni", configurationValues='{"enableNetworkPolicy": "false"}'
    )


def _addon_removed(account: Account) -> None:
    account.bed.client("eks").delete_addon(clusterName="comanda", addonName="metrics-server")


def _identity_removed(account: Account) -> None:
    eks = account.bed.client("eks")
    found = eks.list_pod_identity_associations(clusterName="comanda", namespace="external-secrets")["associations"][0]
    eks.delete_pod_identity_association(clusterName="comanda", associationId=found["associationId"])


def _release_removed(account: Account) -> None:
    account.bed.kubernetes.releases.pop(("kube-system", "cluster-autoscaler"))


def _release_of_another_version(account: Account) -> None:
    account.bed.kubernetes.releases["external-secrets", "external-secrets"]["chart"] = "external-secrets-0.9.0"


def _password_lost(account: Account) -> None:
    client = account.bed.client("secretsmanager")
    values = json.loads(client.get_secret_value(SecretId="comanda/db")["SecretString"])
    del values["METRICS_PASSWORD"]
    client.put_secret_value(SecretId="comanda/db", SecretString=json.dumps(values))


def _secret_deleted(account: Account) -> None:
    account.bed.client("secretsmanager").delete_secret(SecretId="comanda/api", RecoveryWindowInDays=7)


def _context_removed(account: Account) -> None:
    (account.home / "kubeconfig").unlink()


DRIFT: list[tuple[Callable[[Account], None], list[str]]] = [
    (_way_out_removed, ["change route table comanda-public: the world by its gateway"]),
    (_tag_removed, ["change subnet comanda-public-a: tag kubernetes.io/role/elb"]),
    (_default_group_opened, ["change default security group of comanda: no rules"]),
    (_tags_mutable, ["change repository comanda-api: immutable tags"]),
    (_images_kept_for_ever, ["change repository comanda-api: keep the newest 50 images"]),
    (_endpoint_opened, ["change EKS cluster comanda: API reachable from 203.0.113.7/32 and from within"]),
    (_audit_off, ["change EKS cluster comanda: logs audit, authenticator"]),
    (_protection_off, ["change EKS cluster comanda: deletion protection on"]),
    (_extended_support, ["change EKS cluster comanda: standard support, the extended one is paid"]),
    (
        _another_administrator,
        [
            "delete access of arn:aws:iam::123456789012:user/somebody: "
            "an administrator that cluster.admins does not name"
        ],
    ),
    (_logs_kept_for_ever, ["change log group /aws/eks/comanda/cluster: kept for 30 days"]),
    (_fewer_nodes, ["change node group comanda-general-a: 1 to 3 nodes"]),
    (_database_label_removed, ["change node group comanda-database: label comanda/node-group=database"]),
    (_ssh_key_in_the_template, ["change launch template comanda-nodes: a new version"]),
    (_policies_off, ['change add-on vpc-cni: configuration {"enableNetworkPolicy": "true"}']),
    (_addon_removed, ["create add-on metrics-server: v0.8.1-eksbuild.2"]),
    (_identity_removed, ["create identity external-secrets/external-secrets as ComandaExternalSecrets"]),
    (_release_removed, ["create helm release kube-system/cluster-autoscaler: cluster-autoscaler-9.59.0"]),
    (
        _release_of_another_version,
        ["change helm release external-secrets/external-secrets: external-secrets-0.9.0 to external-secrets-2.9.0"],
    ),
    (_password_lost, ["change secret comanda/db: METRICS_PASSWORD"]),
    (_secret_deleted, ["change secret comanda/api: it was to be deleted: taken back"]),
    (_context_removed, ["create context comanda"]),
]


def test_drift_made_by_hand_is_shown_by_plan_and_mended_by_apply(account: Account) -> None:
    account.apply()
    for meddle, _ in DRIFT:
        meddle(account)
        settle(account)
    expected = [each for _, changes in DRIFT for each in changes]
    shown = account.plan()
    for each in expected:
        assert any(change.startswith(each) for change in shown), (each, shown)
    done = account.apply()
    for each in expected:
        assert any(change.startswith(each) for change in done), (each, done)
    assert account.plan() == []


def settle(account: Account) -> None:
    """Look until EKS is done with what was changed by hand."""
    for thing in (cluster := account.bed.eks.clusters["comanda"], *cluster.groups.values(), *cluster.addons.values()):
        while thing.then:
            thing.turn()


def changing(calls: list[str]) -> list[str]:
    """Answer the calls that change something."""
    reading = ("Describe", "List", "Get", "Simulate", "GET ")
    return [call for call in calls if not call.split(":")[1].startswith(reading)]
