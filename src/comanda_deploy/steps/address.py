"""Step 12: the name under which guests come: a certificate, and a DNS record that leads to the load balancer."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from comanda_deploy.context import Context
from comanda_deploy.names import CLUSTER, TAG, TAG_VALUE, tag_list
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step
from comanda_deploy.steps.drain import BALANCER_TAG

VALIDATION = 300


@dataclass(frozen=True)
class Record:
    """A DNS record.

    Args:
        name: without a last dot. kind: "A", "CNAME". to: where it leads, in small letters.
        as_found: the whole of it as Route 53 has it, JSON: it deletes only what is named exactly.
    """

    name: str
    kind: str
    to: str
    as_found: str = field(default="", compare=False)


@dataclass(frozen=True)
class AddressFacts:
    """What there is for the host.

    Args:
        zone: the hosted zone's id, "" if none of ours holds the name.
        certificate: ARN and status of our certificate for the host, "" if there is none.
        validation: the record by which AWS sees that the name is ours. records: of that zone, for the host.
        balancer: DNS name and zone id of the Ingress' load balancer.
    """

    zone: str = ""
    certificate: str = ""
    status: str = ""
    validation: Record | None = None
    records: tuple[Record, ...] = ()
    balancer: tuple[str, str] | None = None


class Address(Step[AddressFacts]):
    """Without a host: plain HTTP, which Mercado Pago does not call."""

    name = "address"
    about = "the name under which guests come: certificate and DNS, or plain HTTP"

    def observe(self, context: Context) -> AddressFacts:
        """Read certificate, zone, records and load balancer."""
        host = context.settings.address.host
        if not host:
            return AddressFacts()
        zone = _zone(context)
        arn, status, validation = certificate_of(context, host)
        records = tuple(_records(context, zone, host, validation)) if zone else ()
        return AddressFacts(zone, arn, status, validation, records, _balancer(context))

    def decide(self, settings: Settings, facts: AddressFacts) -> list[Change]:
        """Ask for the certificate, prove the name, lead it to the load balancer."""
        host = settings.address.host
        if not host:
            detail = "plain HTTP at the load balancer's own name: no webhooks, payments are found by asking alone"
            return [Change(Kind.NOTE, "address", detail)]
        if not facts.zone:
            mend = ("make a public hosted zone for it in Route 53, or name the one there is in address.hosted_zone",)
            return [Change(Kind.REFUSED, f"name {host}", "no hosted zone of this account holds it", mend=mend)]
        return [*_certificate_changes(host, facts), *_name_changes(host, facts)]

    def decide_removal(self, settings: Settings, facts: AddressFacts) -> list[Change]:
        """Remove the records that are as we would write them, and the certificate."""
        host, changes = settings.address.host, []
        for record in ours(host, facts):
            do = partial(_delete_record, zone=facts.zone, record=record)
            changes.append(Change(Kind.DELETE, f"record {record.name} {record.kind}", do=do))
        if facts.certificate:
            do = partial(_delete_certificate, arn=facts.certificate)
            changes.append(Change(Kind.DELETE, f"certificate {host}", do=do))
        return changes


def ours(host: str, facts: AddressFacts) -> list[Record]:
    """Answer those of the zone's records that are as we would write them: a mail server's, say, is none of them."""
    written = [facts.validation] if facts.validation else []
    if facts.balancer:
        written.append(Record(host, "A", facts.balancer[0].lower()))
    return [
        record
        for record in facts.records
        if record in written or (record.name == host and record.kind == "A" and ".elb." in record.to)
    ]


def _certificate_changes(host: str, facts: AddressFacts) -> Iterator[Change]:
    what = f"certificate {host}"
    if facts.status in {"FAILED", "EXPIRED", "VALIDATION_TIMED_OUT", "REVOKED"}:
        do = partial(_delete_certificate, arn=facts.certificate)
        yield Change(Kind.DELETE, what, f"it is {facts.status.lower()}: to be made anew", do=do)
    elif not facts.certificate:
        yield Change(Kind.CREATE, what, "proved by a DNS record", do=partial(_request, host=host))
    if not facts.certificate or (facts.validation and facts.validation not in facts.records):
        do = partial(_put_record, zone=facts.zone, record=facts.validation, balancer=None)
        if facts.validation or not facts.certificate:
            yield Change(Kind.CREATE, f"record that proves {host}", do=do)
    if facts.certificate and facts.status == "PENDING_VALIDATION":
        detail = "AWS looks for the record; if that does not end, the domain's name servers are not this zone's"
        yield Change(Kind.WAIT, what, detail, expected_seconds=VALIDATION)


def _name_changes(host: str, facts: AddressFacts) -> Iterator[Change]:
    there = [record for record in facts.records if record.name == host and record.kind in {"A", "AAAA", "CNAME"}]
    if facts.balancer is None:
        yield Change(Kind.NOTE, f"name {host}", "there is no load balancer yet: step address again after deploy-api")
        return
    wanted = Record(host, "A", facts.balancer[0].lower())
    if there == [wanted]:
        return
    if there and not any(".elb." in record.to for record in there):
        mend = (f"delete the record {host} in Route 53 if it may go, then run it again",)
        detail = f"it leads to {there[0].to} already"
        yield Change(Kind.REFUSED, f"name {host}", detail, mend=mend)
        return
    do = partial(_put_record, zone=facts.zone, record=wanted, balancer=facts.balancer)
    yield Change(Kind.CHANGE if there else Kind.CREATE, f"name {host}", "leads to the load balancer", do=do)


# What is read.


def _zone(context: Context) -> str:
    address = context.settings.address
    found = context.pages("route53", "list_hosted_zones", "HostedZones")
    public = {zone["Name"].rstrip("."): zone["Id"] for zone in found if not zone["Config"].get("PrivateZone")}
    if address.hosted_zone:
        return str(public.get(address.hosted_zone, ""))
    labels = address.host.split(".")
    parents = (".".join(labels[start:]) for start in range(len(labels) - 1))
    return next((str(public[parent]) for parent in parents if parent in public), "")


def certificate_of(context: Context, host: str) -> tuple[str, str, Record | None]:
    """Answer ARN and state of our certificate of a host, "" if there is none, and the record that proves it."""
    client = context.client("acm")
    for each in context.pages("acm", "list_certificates", "CertificateSummaryList"):
        if each["DomainName"] != host:
            continue
        arn = each["CertificateArn"]
        if {"Key": TAG, "Value": TAG_VALUE} not in client.list_tags_for_certificate(CertificateArn=arn)["Tags"]:
            continue
        found = client.describe_certificate(CertificateArn=arn)["Certificate"]
        proof = found["DomainValidationOptions"][0].get("ResourceRecord")
        record = Record(proof["Name"].rstrip("."), proof["Type"], proof["Value"].rstrip(".").lower()) if proof else None
        return arn, found["Status"], record
    return "", "", None


def _records(context: Context, zone: str, host: str, validation: Record | None) -> Iterator[Record]:
    names = {host, validation.name if validation else host}
    for each in context.pages("route53", "list_resource_record_sets", "ResourceRecordSets", HostedZoneId=zone):
        name = each["Name"].rstrip(".")
        if name in names:
            alias = each.get("AliasTarget", {}).get("DNSName", "")
            values = [value["Value"] for value in each.get("ResourceRecords", [])]
            to = (alias or (values[0] if values else "")).rstrip(".").lower()
            yield Record(name, each["Type"], to, json.dumps(each))


def _balancer(context: Context) -> tuple[str, str] | None:
    found = {
        each["LoadBalancerArn"]: each for each in context.pages("elbv2", "describe_load_balancers", "LoadBalancers")
    }
    for arn, each in found.items():
        (described,) = context.client("elbv2").describe_tags(ResourceArns=[arn])["TagDescriptions"]
        if {"Key": BALANCER_TAG, "Value": CLUSTER} in described["Tags"]:
            return each["DNSName"], each["CanonicalHostedZoneId"]
    return None


# What is done.


def _request(context: Context, host: str) -> None:
    token = "".join(letter for letter in host if letter.isalnum())[:32]
    context.client("acm").request_certificate(
        DomainName=host, ValidationMethod="DNS", IdempotencyToken=token, Tags=tag_list()
    )


def _put_record(context: Context, zone: str, record: Record | None, balancer: tuple[str, str] | None) -> None:
    if record is None:
        return  # the certificate does not name it yet: the engine comes back
    there: dict[str, Any] = {"Name": record.name, "Type": record.kind}
    if balancer:
        there["AliasTarget"] = {"HostedZoneId": balancer[1], "DNSName": record.to, "EvaluateTargetHealth": True}
    else:
        there.update(TTL=300, ResourceRecords=[{"Value": record.to}])
    _change_records(context, zone, "UPSERT", there)


def _delete_record(context: Context, zone: str, record: Record) -> None:
    _change_records(context, zone, "DELETE", json.loads(record.as_found))


def _change_records(context: Context, zone: str, action: str, record: dict[str, Any]) -> None:
    context.client("route53").change_resource_record_sets(
        HostedZoneId=zone, ChangeBatch={"Changes": [{"Action": action, "ResourceRecordSet": record}]}
    )


def _delete_certificate(context: Context, arn: str) -> None:
    context.client("acm").delete_certificate(CertificateArn=arn)
