"""`python -m bench.frameworks --python PYTHON`: measures all candidates, each as its own process.

PYTHON is the interpreter of a virtual environment with comanda's packages and the candidates':
`pip install starlette fastapi blacksheep uvicorn httptools`. They are no dependencies of Comanda.
"""

import argparse
import sys
from pathlib import Path

import msgspec
import uvloop

from bench.diner import Diner, running_surroundings
from bench.load import request
from bench.measuring import Result, looking_at
from bench.scenarios import placing, reading
from bench.stock import clear_orders, stock_orders

FRAMEWORKS = ("litestar", "starlette", "fastapi", "blacksheep")
SERVERS = ("granian", "uvicorn")


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", required=True, help="interpreter of an environment that has the candidates")
    parser.add_argument("--folder", type=Path, default=Path(".comanda/bench-frameworks"))
    options = parser.parse_args()
    found: dict[str, list[Result]] = {}
    with running_surroundings(options.folder.absolute()) as diner:
        for framework in FRAMEWORKS:
            for server in SERVERS:
                command = [options.python, "-m", "bench.frameworks.serve", framework, server]
                with diner.running(command) as pid:
                    found[f"{framework} on {server}"] = uvloop.run(_measure(diner, pid))
                _tell(f"{framework} on {server}", found[f"{framework} on {server}"])
    output = options.folder / "result.json"
    output.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
    print(f"CPU of the API process in ms per request (and requests per second), medians of 3; details: {output}")
    return 0


def _tell(name: str, results: list[Result]) -> None:
    cells = [f"{result.name} {result.cpu_ms:.3f} ({result.requests_per_second:.0f}/s)" for result in results]
    print(f"{name:24} {'   '.join(cells)}   RSS {results[-1].rss_mb} MB", flush=True)


async def _measure(diner: Diner, pid: int) -> list[Result]:
    async with looking_at(diner, pid) as bench:

        async def expire() -> None:
            await clear_orders(bench.connection, "awaiting_payment")

        await stock_orders(bench.connection, 1000, "awaiting_payment")
        rows = await bench.connection.fetch("SELECT id FROM orders WHERE status = 'awaiting_payment'")
        ids = [str(row["id"]) for row in rows]
        menu = request("GET", "/v1/menu")
        results = [
            await bench.measure("menu", lambda n: [menu] * n, 4000),
            await bench.measure("order", lambda n: reading(ids, n), 2000),
        ]
        await expire()
        products = diner.products
        results.append(
            await bench.measure(
                "placing", lambda n: [placing(products, True) for _ in range(n)], 400, status=201, between=expire
            )
        )
        return results


if __name__ == "__main__":
    sys.exit(main())
