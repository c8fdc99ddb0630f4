"""The load balancer's stand-in: what it reads in the cluster and what it writes there, and how it lives without it."""

import asyncio
import base64
import json
import re
import ssl
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.cluster.alb import gates, kubeconfig, webhook
from tests.cluster.alb.__main__ import main
from tests.cluster.alb.kubernetes import Api, Away, Json
from tests.cluster.alb_bed import NAMESPACE, PREFIX, SERVICE, Bed, alb_bed, ingress, node, service
from tests.cluster.certificates import Authority
from tests.cluster.fake_kubernetes import FakeKubernetes, fake_kubernetes
from tests.cluster.test_alb import one_pod


def the_ingress(bed: Bed) -> Json:
    return bed.kubernetes.objects["Ingress"][NAMESPACE, "api"]


async def held(bed: Bed) -> None:
    """Wait until the Ingress has a finalizer and a host name."""
    await bed.kubernetes.until(
        lambda: {"finalizers"} <= set(the_ingress(bed)["metadata"]) and "status" in the_ingress(bed)
    )


async def test_the_ingress_is_held_and_told_its_host_name(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        await held(bed)
        assert the_ingress(bed)["metadata"]["finalizers"] == ["ingress.k8s.aws/resources"]
        [said] = the_ingress(bed)["status"]["loadBalancer"]["ingress"]
        assert said["hostname"] == bed.alb.balancer.model.hostnames[NAMESPACE, "api"]
        assert said["hostname"].endswith(".sa-east-1.elb.amazonaws.com")


async def test_a_deleted_ingress_is_let_go_once_nothing_listens_any_more(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        await held(bed)
        pod = await one_pod(bed)
        port = bed.port
        await bed.kubernetes.delete("Ingress", NAMESPACE, "api")
        await bed.kubernetes.until(lambda: bed.kubernetes.objects["Ingress"] == {})
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert bed.alb.balancer.groups == {}
        await bed.kubernetes.put(ingress())
        await bed.until(lambda: bed.alb.listeners.open == {"HTTP": port})
        await bed.healthy(pod)
        assert await bed.get() == (200, "a")


async def test_an_ingress_of_a_group_has_the_groups_finalizer(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        await held(bed)
        ours = the_ingress(bed)
        ours["metadata"]["annotations"][PREFIX + "group.name"] = "diner"
        await bed.kubernetes.put(ours)
        await bed.kubernetes.until(
            lambda: the_ingress(bed)["metadata"]["finalizers"] == ["group.ingress.k8s.aws/diner"]
        )


async def test_without_an_ingress_nothing_listens(tmp_path: Path) -> None:
    async with alb_bed(tmp_path, [service()]) as bed:
        assert bed.alb.listeners.open == {}
        await bed.kubernetes.put(ingress())
        await bed.until(lambda: "HTTP" in bed.alb.listeners.open)
        assert (await bed.get())[0] == 503


async def test_https_without_a_port_for_it_is_named(tmp_path: Path) -> None:
    async with alb_bed(tmp_path, [ingress(annotations={"certificate-arn": "arn"}), service()]) as bed:
        async with bed.session.get(bed.admin) as answer:
            state = await answer.json()
        assert state["open"] == {}
        assert "HTTPS is wanted" in state["problems"]["listeners"][0]


async def test_a_change_of_the_paths_holds_for_the_next_request(tmp_path: Path) -> None:
    async with alb_bed(tmp_path, [ingress([("/v1", "Prefix")]), service()]) as bed:
        await one_pod(bed)
        assert [(await bed.get(path))[0] for path in ("/v1/menu", "/v2")] == [200, 404]
        await bed.kubernetes.put(ingress([("/v2", "Prefix")]))
        await bed.until(lambda: bed.alb.balancer.model.listeners["HTTP"].rules[0].paths[0] == "/v2")
        assert [(await bed.get(path))[0] for path in ("/v1/menu", "/v2")] == [404, 200]


async def test_while_the_api_server_is_away_it_goes_on_with_what_it_knows(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pods = await bed.pod("a"), await bed.pod("b")
        await bed.healthy(*pods)
        listed = bed.kubernetes.lists
        await bed.kubernetes.close()
        await bed.clock.pass_(30)
        assert {(await bed.get())[1] for _ in range(4)} == {"a", "b"}
        # Health checks are the load balancer's own.
        pods[0].healthy = False
        await bed.clock.flow(lambda: bed.state(pods[0]) == "unhealthy")
        assert {(await bed.get())[1] for _ in range(4)} == {"b"}
        await bed.kubernetes.delete("EndpointSlice", NAMESPACE, f"{SERVICE}-b")
        await bed.kubernetes.open()
        await bed.clock.flow(lambda: bed.target(pods[1]).leaving)
        assert bed.kubernetes.lists == listed


async def test_a_watch_is_resumed_where_it_ended(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        listed, watched = bed.kubernetes.lists, len(bed.kubernetes.watched)
        await bed.kubernetes.bookmark()
        pod = await bed.pod("a")
        await bed.until(lambda: bed.state(pod) == "initial")
        seen = bed.kubernetes.history[-1][0]
        await bed.kubernetes.end_watches()
        await bed.kubernetes.until(lambda: len(bed.kubernetes.watched) == watched + 5)
        await bed.end_pod(pod)
        assert bed.kubernetes.lists == listed
        # The bookmark was the last that most of the watches heard of.
        assert min(bed.kubernetes.watched[watched:]) >= seen - 2


async def test_a_version_that_is_too_old_has_everything_listed_anew(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pods = await bed.pod("a"), await bed.pod("b")
        await bed.healthy(*pods)
        listed = bed.kubernetes.lists
        await bed.kubernetes.close()
        await bed.kubernetes.delete("EndpointSlice", NAMESPACE, f"{SERVICE}-a")
        await bed.kubernetes.forget_history()
        await bed.kubernetes.open()
        await bed.clock.flow(lambda: bed.target(pods[0]).leaving)
        assert bed.kubernetes.lists == listed + 5
        assert not bed.target(pods[1]).leaving


async def test_an_error_amid_a_watch_has_everything_listed_anew(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        listed = bed.kubernetes.lists
        await bed.kubernetes.tell_watches({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
        await bed.clock.flow(lambda: bed.kubernetes.lists == listed + 5)
        pod = await bed.pod("a")
        await bed.until(lambda: bed.state(pod) == "initial")


async def test_a_write_that_fails_is_done_later(tmp_path: Path) -> None:
    async with alb_bed(tmp_path, [service()]) as bed:
        bed.kubernetes.refuses_writes = 503
        await bed.kubernetes.put(ingress())
        await bed.until(lambda: "HTTP" in bed.alb.listeners.open)
        assert "finalizers" not in the_ingress(bed)["metadata"]
        bed.kubernetes.refuses_writes = 0
        await bed.clock.flow(lambda: "finalizers" in the_ingress(bed)["metadata"])


async def test_an_api_server_that_asks_for_a_certificate_is_shown_one(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    authority = tmp_path / "pki" / "ca.crt"
    kubernetes = FakeKubernetes()
    kubernetes.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority))
    kubernetes.tls.load_cert_chain(certificate, key)
    kubernetes.tls.verify_mode = ssl.CERT_REQUIRED
    await kubernetes.open()
    try:
        file = kubernetes.kubeconfig(tmp_path)
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        config["clusters"][0]["cluster"]["certificate-authority"] = str(authority)
        for user, reached in (({}, False), ({"client-certificate": str(certificate), "client-key": str(key)}, True)):
            config["users"][0]["user"] = user
            file.write_text(yaml.safe_dump(config), encoding="utf-8")
            async with Api(kubeconfig.read(file)) as api:
                if reached:
                    assert (await api.get("/api/v1/pods"))["items"] == []
                else:
                    with pytest.raises(Away):
                        await api.get("/api/v1/pods")
    finally:
        await kubernetes.close()


async def test_only_one_namespace_counts_where_that_is_wanted(tmp_path: Path) -> None:
    other = ingress()
    other["metadata"] |= {"namespace": "other"}
    async with alb_bed(tmp_path, [ingress(), service(), other], namespace=NAMESPACE) as bed:
        assert set(bed.alb.balancer.model.hostnames) == {(NAMESPACE, "api")}
        assert f"GET /api/v1/namespaces/{NAMESPACE}/pods" in bed.kubernetes.asked
        await one_pod(bed)


async def test_a_service_made_anew_has_a_target_group_of_its_own(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        [group] = bed.alb.balancer.groups.values()
        await bed.kubernetes.delete("Service", NAMESPACE, SERVICE)
        await bed.until(lambda: bed.alb.balancer.groups == {})
        assert (await bed.get())[1] == "Backend service does not exist"
        await bed.kubernetes.put(service())
        await bed.until(lambda: bed.state(pod) == "initial")
        [second] = bed.alb.balancer.groups.values()
        assert second.spec.name != group.spec.name
        # The same, though nobody saw that it was gone for a moment.
        await bed.healthy(pod)
        anew = service()
        anew["metadata"]["uid"] = "another"
        await bed.kubernetes.put(anew)
        await bed.until(lambda: bed.state(pod) == "initial")


async def test_a_lost_nodes_pods_leave_while_others_are_ready(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pods = await bed.pod("a"), await bed.pod("b")
        await bed.healthy(*pods)
        await bed.kubernetes.put(node(ready="Unknown"))
        await bed.endpoint(pods[0], ready=False, serving=False, terminating=False)
        await bed.until(lambda: bed.target(pods[0]).leaving)
        assert not bed.target(pods[1]).leaving


def gate_of(bed: Bed) -> str:
    [group] = bed.alb.balancer.groups.values()
    return gates.condition_type(group.spec.name)


async def condition(bed: Bed, name: str, status: str) -> Json:
    """Wait until a pod's gate has a status; answer its condition."""

    def found() -> list[Json]:
        conditions: list[Json] = bed.kubernetes.objects["Pod"][NAMESPACE, name]["status"]["conditions"]
        return [each for each in conditions if each["type"].startswith(gates.PREFIX) and each["status"] == status]

    await bed.kubernetes.until(lambda: bool(found()))
    return found()[0]


async def test_a_gate_opens_once_the_pod_is_healthy_and_shuts_when_it_is_not(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await bed.pod("a", gate=gate_of(bed))
        shut = await condition(bed, "a", "False")
        assert (shut["reason"], shut["message"]) == (
            "Elb.RegistrationInProgress",
            "Target registration is in progress",
        )
        await bed.healthy(pod)
        opened = await condition(bed, "a", "True")
        assert (opened["type"], opened["reason"], opened["message"]) == (gate_of(bed), "", "")
        assert opened["lastTransitionTime"] > shut["lastTransitionTime"]
        pod.healthy = False
        await bed.clock.flow(lambda: bed.state(pod) == "unhealthy")
        assert (await condition(bed, "a", "False"))["reason"] == "Target.ResponseCodeMismatch"
        # Its containers are ready all the while, and so it stays registered.
        assert not bed.target(pod).leaving


async def test_other_conditions_of_a_pod_stay(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        await bed.pod("a", gate=gate_of(bed))
        await condition(bed, "a", "False")
        kinds = {each["type"] for each in bed.kubernetes.objects["Pod"][NAMESPACE, "a"]["status"]["conditions"]}
        assert kinds == {"ContainersReady", gate_of(bed)}


async def test_pods_without_our_gate_are_not_touched(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await bed.pod("a", gate="example.com/other", ready=True)
        await bed.healthy(pod)
        assert not [each for each in bed.kubernetes.asked if each.startswith("PATCH") and "/pods/" in each]


async def test_the_gate_of_a_group_that_is_no_more_stands_open(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        await bed.pod("a", gate=gate_of(bed))
        await condition(bed, "a", "False")
        await bed.kubernetes.delete("Ingress", NAMESPACE, "api")
        assert (await condition(bed, "a", "True"))["message"] == "Target Group Binding is deleted"


def review(labels: dict[str, str], *had: str) -> Json:
    spec = {"readinessGates": [{"conditionType": each} for each in had]} if had else {}
    pod = {"metadata": {"labels": labels}, "spec": spec}
    asked = {"uid": "u1", "namespace": NAMESPACE, "operation": "CREATE", "object": pod}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}


def patch(answer: Json) -> list[Json]:
    said = answer["response"]
    assert (said["uid"], said["allowed"]) == ("u1", True)
    found: list[Json] = json.loads(base64.b64decode(said["patch"])) if "patch" in said else []
    return found


def pair(folder: Path) -> tuple[Path, Path]:
    """Answer a certificate and its key for 127.0.0.1, as files."""
    made = Authority(folder / "pki", "ca").sign("webhook", hosts=["127.0.0.1"])
    return made.certificate, made.key


async def test_the_webhook_gives_a_pod_the_gates_of_the_groups_that_select_it(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    async with alb_bed(tmp_path, webhook=("127.0.0.1", 0), certificate=certificate, key=key) as bed:
        trusted = ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.crt"))
        url = f"https://127.0.0.1:{bed.alb.webhook_port}{webhook.PATH}"

        async def asked(body: Json) -> list[Json]:
            async with bed.session.post(url, json=body, ssl=trusted) as answer:
                return patch(await answer.json())

        ours = {"conditionType": gate_of(bed)}
        where = {"path": "/spec/readinessGates"}
        assert await asked(review({"app": SERVICE, "x": "y"})) == [{"op": "add", **where, "value": [ours]}]
        assert await asked(review({"app": "worker"})) == []
        assert await asked(review({"app": SERVICE}, gate_of(bed))) == []
        other = {"conditionType": "example.com/other"}
        legacy = "target-health.alb.ingress.k8s.aws/x"
        assert await asked(review({"app": SERVICE}, legacy, "example.com/other")) == [
            {"op": "replace", **where, "value": [other, ours]}
        ]


def test_the_webhooks_manifest_fails_open_and_is_for_namespaces_that_ask_for_it() -> None:
    ingress_class, configuration = webhook.manifests("https://172.30.0.1:9443/", "PEM")
    assert (ingress_class["metadata"]["name"], ingress_class["spec"]["controller"]) == ("alb", "ingress.k8s.aws/alb")
    [hook] = configuration["webhooks"]
    assert hook["failurePolicy"] == "Ignore"
    assert hook["namespaceSelector"]["matchExpressions"] == [
        {"key": "elbv2.k8s.aws/pod-readiness-gate-inject", "operator": "In", "values": ["enabled"]}
    ]
    assert hook["clientConfig"] == {"url": "https://172.30.0.1:9443/mutate-v1-pod", "caBundle": "UEVN"}


def test_a_kubeconfig_is_read_with_its_certificates_as_data_or_as_files(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    authority = tmp_path / "pki" / "ca.crt"

    def access(cluster: Json, user: Json) -> kubeconfig.Access:
        file = tmp_path / "config"
        config = {
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443/", **cluster}}],
            "users": [{"name": "u", "user": user}],
        }
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return kubeconfig.read(file)

    def data(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    as_files = access(
        {"certificate-authority": "pki/ca.crt"}, {"client-certificate": str(certificate), "client-key": str(key)}
    )
    as_data = access(
        {"certificate-authority-data": data(authority)},
        {"client-certificate-data": data(certificate), "client-key-data": data(key), "token": "t"},
    )
    for each in (as_files, as_data):
        assert each.server == "https://127.0.0.1:6443"
        assert each.tls is not None
        assert len(each.tls.get_ca_certs()) == 1
    assert as_data.token == "t"
    assert access({"server": "http://127.0.0.1:1"}, {}).tls is None
    empty = tmp_path / "empty"
    empty.write_text("current-context: b", encoding="utf-8")
    with pytest.raises(ValueError, match="no 'b' among its contexts"):
        kubeconfig.read(empty)


async def test_the_process_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    async with fake_kubernetes() as kubernetes:
        for thing in (node(), ingress(), service()):
            await kubernetes.put(thing)
        file = kubernetes.kubeconfig(tmp_path)
        given = (
            f"--kubeconfig {file} --listen 127.0.0.1:0 --admin 127.0.0.1:0 --log {tmp_path}/log --registration-lag 0"
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.cluster.alb", *given.split()),
            stderr=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stderr
        ports: dict[str, str] = {}
        async with asyncio.timeout(20), aiohttp.ClientSession() as session:
            while set(ports) < {"admin", "HTTP"}:
                found = re.search(rb"(admin|HTTP) is open at 127.0.0.1:(\d+)", await process.stderr.readline())
                assert found
                ports[found[1].decode()] = found[2].decode()
            async with session.get(f"http://127.0.0.1:{ports['HTTP']}/v1/menu") as answer:
                assert answer.status == 503
            url = f"http://127.0.0.1:{ports['admin']}/_alb/state?wait=requests:1"
            async with session.get(url) as answer:
                assert (await answer.json())["counts"]["elb_5xx"] == 1
            process.terminate()
            assert await process.wait() == 0
        assert '"GET http://127.0.0.1:80/v1/menu HTTP/1.1"' in (tmp_path / "log").read_text(encoding="utf-8")


def test_a_kubeconfig_that_is_none_ends_it_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kubeconfig", str(tmp_path / "none"), "--listen", "127.0.0.1:0"]) == 1
    assert "No such file" in capsys.readouterr().err


def test_a_webhook_without_a_certificate_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--kubeconfig", "x", "--listen", "127.0.0.1:80", "--webhook", "127.0.0.1:1"])
    assert "--webhook needs --cert and --key" in capsys.readouterr().err
