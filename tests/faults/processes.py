"""Runs with whole processes: two APIs, two workers, the sandbox and PostgreSQL, each killed, stopped or cut off.

The house stands for many runs; each has orders of its own, by which it is judged. What happens when is the seed's to
decide, by the machine's clock: the same seed does the same things, and the processes answer as they will.
"""

import asyncio
import contextlib
import json
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

import comanda
from comanda_local.ports import free_ports
from comanda_local.postgres import EmbeddedPostgres
from comanda_sandbox.running import TOKEN, WEBHOOK_SECRET
from tests.conftest import url_of
from tests.faults.house import Program
from tests.faults.many import prepare
from tests.processes.conftest import stock
from tests.processes.pods import call, environment
from tests.running_diner import Answer

GUESTS = 5
AGAIN_SECONDS = 0.3
DECIDED_WITHIN_SECONDS = 60
"""From the end of the faults on: the longest back-off, a lease, and what a slow machine adds."""
AT_PROVIDER: dict[str, dict[str, Any]] = {
    "server_error": {},
    "rate_limited": {"retry_after": 1},
    "answer_lost": {},
    "create_answer_lost": {},
    "refund_answer_lost": {},
    "slow_answer": {"seconds": 3.0},
    "time_out": {"seconds": 3.0},
    "non_json": {},
    "webhook_never": {},
    "webhook_dropped": {},
    "webhook_duplicated": {"copies": 2},
}
KINDS = (
    "API killed",
    "API stopped and resumed",
    "worker killed",
    "worker stopped and resumed",
    "sandbox killed",
    "sandbox stopped and resumed",
    "PostgreSQL restarted in immediate mode",
    "connections cut",
    "old and new version side by side",
    "migration under load",
    *AT_PROVIDER,
)


NEWER = """
ALTER TABLE orders ADD COLUMN newer_{number} integer;
ALTER TABLE payments ADD COLUMN newer_{number} integer DEFAULT 0;
"""
"""What a newer version migrates: columns that the older one knows nothing of."""


@dataclass
class Result:
    """What became of a run."""

    seed: str
    failure: str = ""
    orders: int = 0
    seconds: float = 0
    faults: Counter[str] = field(default_factory=Counter)


class Processes:
    """The house: everything that runs, and how it is reached.

    Args:
        folder: for data, ledger, logs and newer versions.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._newer = 0

    async def __aenter__(self) -> "Processes":
        # It is killed, and must have kept what it said it had: no short cuts.
        self.server = EmbeddedPostgres(self._folder / "data", settings={"max_connections": 200})
        self.server.start()
        await self._database()
        ports = free_ports(7)
        sandbox_url = f"http://127.0.0.1:{ports[4]}"
        given = environment(self.url, None, MERCADO_PAGO_BASE_URL=sandbox_url, MERCADO_PAGO_ACCESS_TOKEN=TOKEN)
        self.apis = [
            Program(
                f"api{number}",
                ["-m", "comanda", "serve"],
                given | {"PORT": str(ports[number]), "OPS_PORT": str(ports[2 + number])},
                self._folder,
            )
            for number in (0, 1)
        ]
        self.workers = [
            Program(
                f"worker{number}",
                ["-m", "comanda", "worker"],
                given | {"OPS_PORT": str(ports[5 + number])},
                self._folder,
            )
            for number in (0, 1)
        ]
        self.sandbox = Program(
            "sandbox",
            [
                "-m",
                "comanda_sandbox",
                "--port",
                str(ports[4]),
                "--ledger",
                str(self._folder / "ledger.sqlite3"),
                "--webhook-url",
                f"http://127.0.0.1:{ports[0]}/v1/webhooks/mercado-pago",
            ],
            {"PATH": given["PATH"], "SANDBOX_TOKEN": TOKEN, "SANDBOX_WEBHOOK_SECRET": WEBHOOK_SECRET},
            self._folder,
        )
        self._ready = [f"http://127.0.0.1:{worker.environment['OPS_PORT']}/readyz" for worker in self.workers]
        self.urls = [f"http://127.0.0.1:{ports[number]}" for number in (0, 1)]
        self.sandbox_url = sandbox_url
        self.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=10), connector=aiohttp.TCPConnector(force_close=True)
        )
        for program in self.all:
            await program.start()
        await self.all_serve()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        for program in self.all:
            await program.kill()
        self.server.stop("immediate")

    @property
    def all(self) -> list[Program]:
        """Every process of ours but PostgreSQL."""
        return [self.sandbox, *self.apis, *self.workers]

    async def _database(self) -> None:
        await prepare(self.server, ["faults"])
        self.owner_url, self.url = url_of(self.server, "faults"), url_of(self.server, "faults", user="app")
        self.staff_key = await stock(self.owner_url)

    async def all_serve(self) -> None:
        """Wait until everybody who was started again serves: a version that ends at its start would go unseen."""
        for url in (f"{self.sandbox_url}/_sandbox/clock", *(f"{url}/readyz" for url in self.urls), *self._ready):
            await self._answers(url)

    async def mend(self) -> None:
        """Start and let go whatever a run that failed has left killed or held: the next one is not to suffer."""
        if self.server.pid is None:
            await asyncio.to_thread(self.server.start)
        for program in self.all:
            await program.mend()

    async def _answers(self, url: str) -> None:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self.session.get(url) as response:
                    if response.status == 200:
                        return
            assert time.monotonic() < deadline, f"nobody answers at {url}"
            await asyncio.sleep(0.05)

    async def ask(
        self, method: str, path: str, body: object = None, *, dice: random.Random, key: str = "", staff: bool = False
    ) -> Answer:
        """Ask one of the APIs, once."""
        headers = {"Idempotency-Key": key} if key else {}
        url = self.urls[dice.randrange(2)] + path
        return await call(self.session, method, url, body, key=self.staff_key if staff else None, headers=headers)

    async def provider(self, method: str, path: str, body: object = None) -> Answer:
        """Ask the sandbox as its operator, again and again while it is away."""
        deadline = time.monotonic() + 40
        while True:
            try:
                headers = {"Authorization": f"Bearer {TOKEN}"}
                async with self.session.request(
                    method, self.sandbox_url + path, json=body, headers=headers
                ) as response:
                    document = json.loads(await response.text() or "null", parse_float=Decimal)
                    return Answer(response.status, {}, document)
            except (aiohttp.ClientError, TimeoutError):
                assert time.monotonic() < deadline, "the sandbox stays away"
                await asyncio.sleep(0.1)

    async def value(self, query: str, *arguments: object) -> Any:
        """Answer one value from the database, on a connection of its own."""
        connection = await asyncpg.connect(self.owner_url, timeout=20)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    async def newer(self) -> dict[str, str]:
        """Make a version with one migration more, apply it while everybody works, and answer how it is started."""
        self._newer += 1
        source = self._folder / f"newer{self._newer}"
        shutil.copytree(Path(comanda.__file__).parent, source / "comanda")
        for before in range(1, self._newer + 1):
            text = NEWER.format(number=before)
            (source / "comanda" / "database" / "migrations" / f"{1000 + before}_newer.sql").write_text(text)
        path = {"PYTHONPATH": f"{source}:{Path(comanda.__file__).parents[1]}"}
        program = Program(
            f"migrate{self._newer}",
            ["-m", "comanda", "migrate"],
            path | {"MIGRATION_DATABASE_URL": self.owner_url, "PATH": self.apis[0].environment["PATH"]},
            self._folder,
        )
        await program.start()
        assert await program.ended(60) == 0, program.last()
        return path


async def one_run(house: Processes, seed: str) -> Result:
    """Do one run and answer what became of it."""
    result, began = Result(seed), time.monotonic()
    orders: set[str] = set()
    try:
        async with asyncio.TaskGroup() as group:
            guests = [
                group.create_task(_guest(house, random.Random(f"{seed} guest {number}"), seed, orders))
                for number in range(GUESTS)
            ]
            group.create_task(_chaos(house, random.Random(f"{seed} chaos"), result.faults, guests))
        await _decided(house, orders)
        await _check(house, orders)
        await house.all_serve()
    except* AssertionError as errors:
        result.failure = "; ".join(str(error) for error in errors.exceptions)
    except* Exception as errors:
        result.failure = "; ".join(f"{type(error).__name__}: {error}" for error in errors.exceptions)
    await house.mend()
    for program in house.all:
        result.failure = "; ".join(filter(None, (result.failure, program.traceback())))
    result.orders, result.seconds = len(orders), time.monotonic() - began
    return result


async def _chaos(house: Processes, dice: random.Random, faults: Counter[str], guests: list[Any]) -> None:
    """Do up to four bad things while guests are there, and mend each."""
    for _ in range(dice.randint(2, 4)):
        await asyncio.sleep(dice.uniform(0.05, 0.7))
        if all(guest.done() for guest in guests):
            return
        kind = KINDS[dice.randrange(len(KINDS))]
        await _strike(house, dice, kind)
        faults[kind] += 1


async def _strike(house: Processes, dice: random.Random, kind: str) -> None:
    of = {"API": house.apis, "worker": house.workers, "sandbox": [house.sandbox]}
    match kind.split(" ", 1):
        case [who, "killed"]:
            program = of[who][dice.randrange(len(of[who]))]
            await program.kill()
            await asyncio.sleep(dice.uniform(0, 0.8))
            await program.start()
        case [who, "stopped and resumed"]:
            program = of[who][dice.randrange(len(of[who]))]
            program.hold()
            await asyncio.sleep(dice.uniform(0.2, 2.5))
            program.go_on()
        case ["PostgreSQL", _]:
            await asyncio.to_thread(house.server.stop, "immediate")
            await asyncio.sleep(dice.uniform(0, 0.5))
            await asyncio.to_thread(house.server.start)
        case ["connections", _]:
            await house.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'")
        case ["old", _]:
            path = await house.newer()
            await house.apis[1].kill()
            await house.workers[1].kill()
            for program in (house.apis[1], house.workers[1]):
                program.environment |= path
                await program.start()
        case ["migration", _]:
            await house.newer()
        case _:
            await house.provider("POST", "/_sandbox/faults", {"fault": kind, "times": 2, **AT_PROVIDER[kind]})


async def _guest(house: Processes, dice: random.Random, seed: str, orders: set[str]) -> None:
    await asyncio.sleep(dice.uniform(0, 2))
    menu = await persistently(house, dice, "GET", "/v1/menu")
    products = [each for group in menu["categories"] for each in group["products"] if each["available"]]
    chosen = dice.sample(products, 2)
    body = {"items": [{"product_id": each["id"], "quantity": dice.randint(1, 2)} for each in chosen]}
    key = f"{seed} {dice.getrandbits(64):016x}"
    placing = [
        persistently(house, dice, "POST", "/v1/orders", body, key=key) for _ in range(2 if dice.random() < 0.3 else 1)
    ]
    documents = await asyncio.gather(*placing)
    made = {document["id"] for document in documents}
    assert len(made) == 1, f"one key made {made}"
    [order] = made
    orders.add(order)
    plan = dice.choice(("pays", "pays", "pays", "cancels", "cancels while paying", "refunded"))
    if plan == "cancels":
        await persistently(house, dice, "POST", f"/v1/orders/{order}/cancel")
        return
    charge = await _charged(house, dice, order)
    paying = house.provider("POST", f"/_sandbox/payments/{charge}/pay")
    if plan == "cancels while paying":
        cancelling = persistently(house, dice, "POST", f"/v1/orders/{order}/cancel", refusals=("409",))
        await asyncio.gather(paying, cancelling)
        return
    assert (await paying).status == 200
    await _heard(house, dice, order)
    if plan == "refunded":
        path = f"/v1/orders/{order}/refunds"
        key = f"{seed} {dice.getrandbits(64):016x}"
        await asyncio.gather(
            *(persistently(house, dice, "POST", path, {"all": True}, key=key, staff=True) for _ in range(2))
        )


async def _charged(house: Processes, dice: random.Random, order: str) -> int:
    deadline = time.monotonic() + DECIDED_WITHIN_SECONDS
    while True:
        document = await persistently(house, dice, "GET", f"/v1/orders/{order}")
        if document["payment"]["pix"]:
            return int(document["payment"]["provider_payment_id"])
        assert document["status"] == "awaiting_payment", f"{order} is {document['status']} before it was paid"
        assert time.monotonic() < deadline, f"{order} has no Pix"
        await asyncio.sleep(AGAIN_SECONDS)


async def _heard(house: Processes, dice: random.Random, order: str) -> None:
    """Listen to an order's events, and again from the last one where the stream breaks, until it is paid."""
    deadline, last = time.monotonic() + DECIDED_WITHIN_SECONDS, ""
    while time.monotonic() < deadline:
        headers = {"Last-Event-ID": last} if last else {}
        url = f"{house.urls[dice.randrange(2)]}/v1/orders/{order}/events"
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with house.session.get(url, headers=headers) as response:
                async for line in response.content:
                    if line.startswith(b"id: "):
                        last = line[4:].strip().decode()
                    if line.startswith(b"data: ") and json.loads(line[6:])["status"] != "awaiting_payment":
                        return
        await asyncio.sleep(0.1)
    now = await persistently(house, dice, "GET", f"/v1/orders/{order}")
    raise AssertionError(f"{order} is {now['status']}, and who listened was never told")


async def persistently(
    house: Processes,
    dice: random.Random,
    method: str,
    path: str,
    body: object = None,
    *,
    key: str = "",
    staff: bool = False,
    refusals: tuple[str, ...] = (),
) -> Any:
    """Ask until it is answered, as a page does; answer the document, None where it is refused as may be."""
    deadline, last = time.monotonic() + DECIDED_WITHIN_SECONDS, "nobody answered"
    while time.monotonic() < deadline:
        try:
            answer = await house.ask(method, path, body, dice=dice, key=key, staff=staff)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            last = type(error).__name__
        else:
            if answer.status in {200, 201, 202}:
                return answer.body
            code = answer.body.get("code", "") if isinstance(answer.body, dict) else ""
            last = f"{answer.status} {code}"
            assert answer.status != 500, f"{method} {path}: {answer.body}"
            passing = answer.status in {408, 429, 502, 503, 504} or code == "request_in_progress"
            if not passing:
                assert last.startswith(refusals or "-"), f"{method} {path}: {last}"
                return None
        await asyncio.sleep(AGAIN_SECONDS)
    raise AssertionError(f"{method} {path} was never answered: {last}")


UNDECIDED = """
SELECT o.id::text AS order_id, o.status IN ('cancelled', 'expired') AND p.status = 'requested' AS never_charged
FROM orders AS o JOIN payments AS p ON p.order_id = o.id
WHERE o.id = ANY($1::uuid[]) AND (
    o.status = 'awaiting_payment' OR p.status IN ('requested', 'pending', 'in_process')
    OR EXISTS (SELECT 1 FROM refunds AS r WHERE r.payment_id = p.id AND r.status IN ('requested', 'in_process')))
"""


async def _decided(house: Processes, orders: set[str]) -> None:
    """Wait until nothing of these orders is open any more.

    An order that ended before its charge was made is searched for until no request of ours can have any effect, which
    is minutes. Where the provider's ledger has no charge for it, that is enough here.
    """
    await house.provider("DELETE", "/_sandbox/faults")
    deadline = time.monotonic() + DECIDED_WITHIN_SECONDS
    while True:
        connection = await asyncpg.connect(house.owner_url, timeout=20)
        try:
            rows = await connection.fetch(UNDECIDED, list(orders))
            unhandled = await connection.fetchval("SELECT count(*) FROM webhook_events WHERE status <> 'handled'")
        finally:
            await connection.close()
        ledger = (await house.provider("GET", "/_sandbox/payments")).body["payments"] if rows else []
        charged = {each["external_reference"] for each in ledger}
        left = [row["order_id"] for row in rows if not row["never_charged"] or row["order_id"] in charged]
        if unhandled:
            left.append(f"{unhandled} webhooks")
        if not left:
            return
        assert time.monotonic() < deadline, f"undecided: {', '.join(left)}"
        await asyncio.sleep(AGAIN_SECONDS)


async def _check(house: Processes, orders: set[str]) -> None:
    ledger = (await house.provider("GET", "/_sandbox/payments")).body["payments"]
    connection = await asyncpg.connect(house.owner_url)
    try:
        for order in orders:
            row = await connection.fetchrow(
                "SELECT o.status, o.total_cents, p.paid_cents, p.refunded_cents FROM orders AS o "
                "JOIN payments AS p ON p.order_id = o.id WHERE o.id = $1::uuid",
                order,
            )
            assert row is not None, f"{order} is lost"
            charges = [each for each in ledger if each["external_reference"] == order]
            assert len(charges) <= 1, f"{order} was charged for {len(charges)} times"
            paid = [each for each in charges if each["date_approved"]]
            served = row["status"] in {"paid", "preparing", "ready", "picked_up"}
            if not paid:
                assert not served, f"{order} is {row['status']} and nobody paid"
                continue
            # In reais with two decimals, read as such (Mercado Pago, Payments API).
            kept = (paid[0]["transaction_amount"] - (paid[0]["transaction_amount_refunded"] or 0)) * 100
            assert kept == (row["total_cents"] if served else 0), f"{order} is {row['status']}, and {kept} are kept"
            assert (row["paid_cents"] or 0) - row["refunded_cents"] == kept, f"{order}: our books say otherwise"
        broken = await connection.fetchval(
            "SELECT count(*) FROM orders AS o WHERE o.id = ANY($1::uuid[]) AND o.version <> "
            "(SELECT count(*) FROM order_events WHERE order_id = o.id)",
            list(orders),
        )
        assert broken == 0, "a history is not its order's"
        stuck = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state LIKE 'idle in transaction%' "
            "AND state_change < clock_timestamp() - interval '10 s'"
        )
        assert stuck == 0, "somebody holds a transaction open"
    finally:
        await connection.close()
