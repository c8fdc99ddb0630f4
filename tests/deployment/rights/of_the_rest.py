"""Which requests a call to the smaller services is for IAM: images, secrets, logs, names, load balancers, the lock."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.deployment.rights.request import Request, Value, arn, as_mapping, carried, request, requested
from tests.deployment.rights.things import Things

Parameters = Mapping[str, Any]

LOOKS = {
    "acm": {"ListCertificates"},
    "autoscaling": {"DescribeAutoScalingGroups"},
    "elb": {"DescribeLoadBalancers", "DescribeTags"},
    "elbv2": {"DescribeLoadBalancers", "DescribeTags", "DescribeTargetGroups"},
    "logs": {"DescribeLogGroups"},
    "route53": {"ListHostedZones"},
    "secretsmanager": {"ListSecrets"},
}
"""Those that have no narrower resource."""

NAMESPACES = {"elb": "elasticloadbalancing", "elbv2": "elasticloadbalancing", "service-quotas": "servicequotas"}
"""What IAM calls a service that boto3 calls otherwise."""


def acm(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    """A certificate is tagged as it is asked for, and by then carries what is asked: AWS's own policies rest on it."""
    if operation == "RequestCertificate":
        tags = as_mapping(parameters["Tags"])
        yield request("acm:RequestCertificate", "*", requested(tags))
        yield request("acm:AddTagsToCertificate", arn("acm", "certificate/*"), requested(tags), carried(tags))
    else:
        found = parameters["CertificateArn"]
        yield request(f"acm:{operation}", found, carried(things.tags_of_certificate(found)))


def ecr(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    tags = requested(as_mapping(parameters.get("tags", [])))
    names = parameters.get("repositoryNames") or [parameters.get("repositoryName")]
    for name in names:
        found = parameters.get("resourceArn") or arn("ecr", f"repository/{name}")
        yield request(f"ecr:{operation}", found, tags)
        if operation == "CreateRepository":
            yield request("ecr:TagResource", found, tags)


def elb(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    name = parameters["LoadBalancerName"]
    found = arn("elasticloadbalancing", f"loadbalancer/{name}")
    yield request(f"elasticloadbalancing:{operation}", found, carried(things.tags_of_classic(name)))


def elbv2(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    found = parameters.get("LoadBalancerArn") or parameters["TargetGroupArn"]
    yield request(f"elasticloadbalancing:{operation}", found, carried(things.tags_of_balancer(found)))


def iam(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    on = parameters.get("PolicySourceArn") or things.role(parameters["RoleName"])
    yield request(f"iam:{operation}", on)


def logs(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    """CloudWatch names a group with its streams behind it, but where it is tagged without (its user guide)."""
    found, tags = arn("logs", f"log-group:{parameters['logGroupName']}"), requested(parameters.get("tags", {}))
    yield request(f"logs:{operation}", f"{found}:log-stream:", tags)
    if tags:
        yield request("logs:TagResource", found, tags)


def quotas(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    service = parameters["ServiceCode"]
    found = arn("servicequotas", f"{service}/{parameters['QuotaCode']}")
    yield request(f"servicequotas:{operation}", found, {"servicequotas:service": service})


def route53(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    found = arn("route53", f"hostedzone/{parameters['HostedZoneId'].split('/')[-1]}", region="", account="")
    yield request(f"route53:{operation}", found, _records(parameters))


def _records(parameters: Parameters) -> dict[str, Value]:
    changes = parameters.get("ChangeBatch", {}).get("Changes", [])
    if not changes:
        return {}
    records = [change["ResourceRecordSet"] for change in changes]
    said = {
        "Actions": {change["Action"] for change in changes},
        "NormalizedRecordNames": {record["Name"].rstrip(".").lower() for record in records},
        "RecordTypes": {record["Type"] for record in records},
    }
    return {f"route53:ChangeResourceRecordSets{key}": tuple(sorted(values)) for key, values in said.items()}


def secrets(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    found, tags = things.secret(parameters.get("SecretId") or parameters["Name"]), parameters.get("Tags", [])
    yield request(f"secretsmanager:{operation}", found, requested(as_mapping(tags)))
    if tags:
        yield request("secretsmanager:TagResource", found, requested(as_mapping(tags)))


def ssm(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    found, tags = arn("ssm", f"parameter{parameters['Name']}"), requested(as_mapping(parameters.get("Tags", [])))
    yield request(f"ssm:{operation}", found, tags)
    if tags:
        yield request("ssm:AddTagsToResource", found, tags)


def sts(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    """Who one is, anybody may ask: no policy can take it away."""
    assert operation == "GetCallerIdentity"
    yield from ()


SERVICES: dict[str, Callable[[str, Parameters, Things], Iterator[Request]]] = {
    "acm": acm,
    "ecr": ecr,
    "elb": elb,
    "elbv2": elbv2,
    "iam": iam,
    "logs": logs,
    "route53": route53,
    "secretsmanager": secrets,
    "service-quotas": quotas,
    "ssm": ssm,
    "sts": sts,
}


def requests(service: str, operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    """Answer what IAM is asked."""
    if operation in LOOKS.get(service, ()):
        yield request(f"{NAMESPACES.get(service, service)}:{operation}")
    else:
        yield from SERVICES[service](operation, parameters, things)
