"""`logs`: one order from pod to pod, faults alone, or all of it, in the order in which it was written."""

import io
import json
import logging
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from comanda.http.logs import JsonFormatter, request_id
from comanda_deploy import log_lines
from comanda_deploy.log_lines import Names, Source
from comanda_testbed.bed import TestBed, running_testbed
from tests.deployment.in_use import InUse, pod

ORDER, OTHER = "0b9c6f0e-6b60-4a3e-9d5e-9c1b7f2f0a01", "0b9c6f0e-6b60-4a3e-9d5e-9c1b7f2f0a02"
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def bed() -> Iterator[TestBed]:
    with running_testbed() as running:
        yield running


@pytest.fixture
def diner(bed: TestBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InUse:
    """Two API pods and a worker, one of them restarted, that saw two orders."""
    worker = pod("comanda-worker-1", "comanda-worker")
    worker["status"]["containerStatuses"] = [{"name": "worker", "restartCount": 1}]
    made = InUse(
        tmp_path / "cluster", [pod("comanda-api-1", "comanda-api"), pod("comanda-api-2", "comanda-api"), worker]
    )
    made.begin(bed, monkeypatch.setenv)
    made.wrote("comanda-api-1", line(1, "order placed", request="r-1", order_id=ORDER), access(2, "r-1"))
    made.wrote(
        "comanda-api-2",
        line(0, "ready", port=8000),
        line(3, "order placed", request="r-2", order_id=OTHER),
        access(4, "r-2"),
        access(6, "r-3", "/v1/webhooks/mercado-pago"),
    )
    made.wrote(
        "comanda-worker-1.previous", line(5, "no answer to a charge", "WARNING", "r-1", order_id=ORDER), raw(5.5)
    )
    made.wrote(
        "comanda-worker-1", line(7, "a second charge of an order was paid", "ERROR", order_id=ORDER, payment="99881")
    )
    made.wrote(
        "comanda-worker-1", line(8, "webhook dropped", request="r-3", payment="99881"), access(9, "r-9", status=503)
    )
    return made


def stamp(second: float) -> str:
    """Answer a time as kubelet writes it: nine digits."""
    return f"{NOON + timedelta(seconds=second):%Y-%m-%dT%H:%M:%S.%f}000Z"


def line(second: float, message: str, level: str = "INFO", request: str | None = None, **fields: object) -> str:
    """Answer a line as the product itself writes it."""
    record = logging.LogRecord("comanda", logging.getLevelName(level), "", 0, message, (), None)
    record.__dict__.update(fields)
    token = request_id.set(request)
    try:
        return f"{stamp(second)} {JsonFormatter().format(record)}"
    finally:
        request_id.reset(token)


def access(second: float, request: str, route: str = "/v1/orders", status: int = 201) -> str:
    fields: dict[str, Any] = {"method": "POST", "route": route, "status": status, "milliseconds": 12.3}
    return line(second, "request", request=request, **fields)


def raw(second: float) -> str:
    return f"{stamp(second)} Killed\x1b[31m"


def test_all_pods_are_one_log_in_the_order_of_time(diner: InUse, capsys: Said) -> None:
    assert diner.does("logs") == 0
    said = capsys.readouterr()
    assert [each.split()[1] for each in said.out.splitlines()] == [
        f"12:00:0{second}" for second in ("0.000", "1.000", "2.000", "3.000", "4.000", "5.000", "5.500", "6.000")
    ] + ["12:00:07.000", "12:00:08.000", "12:00:09.000"]
    assert (
        said.err
        == "11 lines, times in UTC. Next: infra/scripts/eks-cluster-mng.sh logs ID shows one order, request "
        + ("or payment\n")
    )
    first = said.out.splitlines()[1]
    assert first == f"2026-11-26 12:00:01.000 comanda-api-1  INFO order placed  request_id=r-1  order_id={ORDER}"
    assert "POST /v1/orders 201 in 12.3 ms  request_id=r-1" in said.out
    assert "comanda-worker-1 (before its restart)  Killed?[31m" in said.out, "nothing is done to the terminal"


def test_an_order_is_found_with_its_requests_and_the_webhooks_of_its_payment(diner: InUse, capsys: Said) -> None:
    assert diner.does("logs", ORDER, "--json") == 0
    lines = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert [(each["pod"], each["previous"], each.get("request_id"), each["message"]) for each in lines] == [
        ("comanda-api-1", False, "r-1", "order placed"),
        ("comanda-api-1", False, "r-1", "request"),
        ("comanda-worker-1", True, "r-1", "no answer to a charge"),
        ("comanda-api-2", False, "r-3", "request"),
        ("comanda-worker-1", False, None, "a second charge of an order was paid"),
        ("comanda-worker-1", False, "r-3", "webhook dropped"),
    ]


@pytest.mark.parametrize(("asked", "count"), [("r-2a", 0), ("r-3x", 0), ("99881", 3), ("9988", 0), (OTHER, 2)])
def test_a_request_or_a_payment_is_found_by_its_whole_id(diner: InUse, capsys: Said, asked: str, count: int) -> None:
    assert diner.does("logs", asked) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == count
    assert said.err.startswith(f"{count} lines")
    assert (f"look further back, infra/scripts/eks-cluster-mng.sh logs {asked} --since 24h" in said.err) == (count == 0)


def test_faults_alone(diner: InUse, capsys: Said) -> None:
    assert diner.does("logs", "--errors", "--since", "1d") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [each.split()[1] for each in lines] == ["12:00:05.500", "12:00:07.000", "12:00:09.000"]
    assert all("--since=24h" in call for call in diner.calls if call[0] == "logs")


def test_an_exception_stands_below_its_line(diner: InUse, capsys: Said) -> None:
    diner.wrote("comanda-api-1", line(10, "an item failed", "ERROR", exception="Traceback:\n  ValueError"))
    assert diner.does("logs", "--errors") == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["    | Traceback:", "    |   ValueError"]


def test_pods_that_went_are_said(diner: InUse, capsys: Said) -> None:
    diner.pods.append(pod("comanda-api-3", "comanda-api"))
    diner.events = [
        {"involvedObject": {"kind": kind, "name": name}}
        for kind, name in (
            ("Pod", "comanda-api-0"),
            ("Pod", "comanda-api-1"),
            ("Pod", "comanda-follow-settings-1"),
            ("ReplicaSet", "comanda-api-77"),
        )
    ]
    assert diner.does("logs", ORDER) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("comanda-api-3 has no log to be had, or went meanwhile: Error from server")
    assert said[1] == "comanda-api-0 is gone, and its log with it"
    assert said[2].startswith("6 lines")


@pytest.mark.parametrize(
    "wrong", [["logs", "a b"], ["logs", "--since", "1w"], ["logs", "--since", "0s"], ["logs", "-1"]]
)
def test_what_is_no_id_and_no_duration_is_refused(diner: InUse, capsys: Said, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        diner.does(*wrong)
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_without_pods_it_says_which_verb_makes_some(diner: InUse, capsys: Said) -> None:
    diner.pods = []
    assert diner.does("logs") == 1
    assert (
        "there is no pod of API or worker: run infra/scripts/eks-cluster-mng.sh deploy-api" in capsys.readouterr().err
    )


def started(diner: InUse, *arguments: str) -> "subprocess.Popen[str]":
    diner.save()
    return subprocess.Popen(
        [sys.executable, "-m", "comanda_deploy", "verb", "eks-cluster-mng.sh", "logs", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_whoever_has_seen_enough_may_go(diner: InUse) -> None:
    diner.wrote("comanda-api-1", *(access(10 + number / 1000, f"r-{number}") for number in range(5000)))
    process = started(diner)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_followed_it_goes_on_with_old_pods_and_new(diner: InUse) -> None:
    diner.pods.append(pod("comanda-api-3", "comanda-api"))
    process = started(diner, ORDER, "--follow")
    assert process.stdout is not None
    assert process.stderr is not None
    before = [process.stdout.readline() for _ in range(6)]
    assert before[-1].startswith("2026-11-26 12:00:08.000")
    diner.wrote("comanda-api-2", line(20, "cancelled too late", request="r-5", order_id=ORDER), access(21, "r-6"))
    # Its log begins only now: it is tried again.
    diner.wrote("comanda-api-3", access(30, "r-1"))
    after = {process.stdout.readline().split()[2] for _ in range(2)}
    assert after == {"comanda-api-2", "comanda-api-3"}
    diner.wrote("comanda-api-1", access(31, "r-5"))
    assert process.stdout.readline().startswith("2026-11-26 12:00:31.000 comanda-api-1")
    process.send_signal(2)
    assert process.wait(60) == 0
    assert process.stderr.read().splitlines()[-1].startswith("9 lines, times in UTC.")
    for stream in (process.stdout, process.stderr):
        stream.close()
    (diner.folder / "ended").touch()


def test_whatever_pods_write_is_read(chance: random.Random) -> None:
    source, lines = Source("a", "api"), []
    for number in range(200):
        text = bytes(chance.randrange(1, 256) for _ in range(chance.randrange(40))).replace(b"\n", b" ")
        lines.append(chance.choice([text, stamp(chance.randrange(50)).encode() + b" " + text, stamp(number).encode()]))
    found = list(log_lines.read(source, io.BytesIO(b"\n".join(lines) + b"\n")))
    assert len(found) == len(lines)
    assert [each.at for each in found] == sorted(each.at for each in found)
    for each in found:
        assert all(character.isprintable() or character in "\t\n" for character in log_lines.for_people(each))
        assert json.loads(log_lines.for_scripts(each))["pod"] == "a"
        Names("abcd").take(each)


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    endless = io.BytesIO(b"x" * (3 * log_lines.LONGEST))
    assert max(len(each.text) for each in log_lines.read(Source("a", "api"), endless)) <= log_lines.LONGEST


def test_no_secret_of_the_operator_s_reaches_kubectl(diner: InUse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERCADO_PAGO_ACCESS_TOKEN", "hidden-token")
    script = diner.folder / "kubectl"
    script.write_text(
        script.read_text().replace(
            "import json,", "import os\nassert 'hidden-token' not in str(os.environ)\nimport json,", 1
        )
    )
    assert os.environ["MERCADO_PAGO_ACCESS_TOKEN"] == "hidden-token"
    assert diner.does("logs") == 0
