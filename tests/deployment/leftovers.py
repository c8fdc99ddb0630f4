"""What Kubernetes and its controllers make in an account, and what `destroy` must find."""

from tests.deployment.account import Account

CLUSTER_TAGS = [{"Key": "kubernetes.io/cluster/comanda", "Value": "owned"}, {"Key": "Project", "Value": "comanda"}]
DISK_TAGS = [{"Key": "ebs.csi.aws.com/cluster", "Value": "true"}, *CLUSTER_TAGS]


def leave_behind(account: Account) -> None:
    """Let an Ingress have its load balancer, and leave a disk, a snapshot, an interface, groups and target groups."""
    account.bed.kubernetes.call("PUT", "ingresses", {"namespace": "comanda", "name": "api"})
    ec2, elb = account.bed.client("ec2"), account.bed.client("elbv2")
    filters = [{"Name": "tag:Name", "Values": ["comanda-public-a"]}]
    subnet = ec2.describe_subnets(Filters=filters)["Subnets"][0]
    volume = ec2.create_volume(
        AvailabilityZone=subnet["AvailabilityZone"],
        Size=1,
        TagSpecifications=[{"ResourceType": "volume", "Tags": DISK_TAGS}],
    )
    ec2.create_snapshot(
        VolumeId=volume["VolumeId"], TagSpecifications=[{"ResourceType": "snapshot", "Tags": DISK_TAGS}]
    )
    ec2.create_network_interface(
        SubnetId=subnet["SubnetId"],
        Description="aws-K8S-i-0123",
        TagSpecifications=[
            {
                "ResourceType": "network-interface",
                "Tags": [{"Key": "cluster.k8s.amazonaws.com/name", "Value": "comanda"}],
            }
        ],
    )
    controller = [{"Key": "elbv2.k8s.aws/cluster", "Value": "comanda"}, {"Key": "Project", "Value": "comanda"}]
    ec2.create_security_group(
        GroupName="k8s-traffic-comanda",
        Description="[k8s] Shared Backend SecurityGroup for LoadBalancer",
        VpcId=subnet["VpcId"],
        TagSpecifications=[{"ResourceType": "security-group", "Tags": controller}],
    )
    elb.create_target_group(Name="k8s-comanda-api", Protocol="HTTP", Port=8000, VpcId=subnet["VpcId"], Tags=controller)
