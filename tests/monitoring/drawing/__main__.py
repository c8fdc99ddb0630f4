"""`python -m tests.monitoring.drawing` draws every dashboard from a Prometheus that runs."""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.monitoring.drawing.asking import over_http
from tests.monitoring.drawing.picture import draw_all


def main() -> int:
    """Draw them, say which files came of it, and answer the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.monitoring.drawing", description=__doc__)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", help="its address")
    parser.add_argument("--out", type=Path, default=Path("docs/img/dashboards"), help="the folder of the pictures")
    parser.add_argument("--hours", type=float, default=1.0, help="how far back from now")
    given = parser.parse_args()
    end = datetime.now(UTC)
    for file in draw_all(over_http(given.prometheus), given.out, end - timedelta(hours=given.hours), end):
        print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
