"""One operator at a time: who holds the lock is said, and it is never taken from somebody at work."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from urllib.request import Request, urlopen

import boto3
import pytest
from moto.server import ThreadedMotoServer

from comanda_deploy import lock
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import LOCK_PARAMETER
from comanda_deploy.settings import read_settings


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    session = boto3.Session("AKIAEXAMPLE", "secret", region_name="sa-east-1")
    yield Context(read_settings(), session)
    # One process of moto has one state, however many servers.
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    server.stop()


def put(context: Context, holder: lock.Holder) -> None:
    context.client("ssm").put_parameter(
        Name=LOCK_PARAMETER, Value=json.dumps(asdict(holder)), Type="String", Overwrite=True
    )


def test_who_is_second_is_told_who_is_first_and_why(context: Context) -> None:
    with lock.locked(context, "apply"):
        with pytest.raises(DeployError, match=r"locked by .* since .* UTC \(apply\): wait") as raised:
            lock.take(context, "destroy")
        assert "\n" not in str(raised.value)
    with lock.locked(context, "destroy"):
        pass
    assert lock.holder_of(context) is None


def test_it_is_given_back_when_the_work_fails(context: Context) -> None:
    with pytest.raises(RuntimeError), lock.locked(context, "apply"):
        raise RuntimeError
    assert lock.holder_of(context) is None


def test_a_killed_process_of_this_machine_holds_nothing(context: Context) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    put(context, replace(lock.take(context, "apply"), pid=child, key="gone"))
    with lock.locked(context, "apply"):
        holder = lock.holder_of(context)
    assert holder is not None
    assert holder.pid == os.getpid()


@pytest.mark.parametrize("change", [{"host": "elsewhere", "pid": 1}, {"pid": 0}, {"who": "somebody (arn)", "pid": 1}])
def test_what_is_not_surely_dead_is_respected(context: Context, change: dict[str, object]) -> None:
    ours = lock.take(context, "apply")
    put(context, replace(ours, key="theirs", **change))  # type: ignore[arg-type]
    with pytest.raises(DeployError, match="locked by"):
        lock.take(context, "apply")


def test_a_person_may_lock_for_as_long_as_they_like(context: Context) -> None:
    holder = lock.take(context, "the auditors are here", stays=True)
    with pytest.raises(DeployError, match="the auditors are here"):
        lock.take(context, "apply")
    lock.release(context, holder)
    assert lock.holder_of(context) is None


def test_another_s_lock_is_not_given_back_by_us(context: Context) -> None:
    ours = lock.take(context, "apply")
    put(context, replace(ours, key="theirs", pid=0, why="mine now"))
    lock.release(context, ours)
    holder = lock.holder_of(context)
    assert holder is not None
    assert holder.why == "mine now"


def test_a_lock_that_cannot_be_read_is_a_lock(context: Context) -> None:
    context.client("ssm").put_parameter(Name=LOCK_PARAMETER, Value="not json", Type="String")
    with pytest.raises(DeployError, match="locked by somebody"):
        lock.take(context, "apply")
