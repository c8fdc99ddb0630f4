"""What a process has used, from /proc: CPU seconds of all its threads, and its resident memory."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """Answer user and system time of a process so far, all threads, without its children; to 1/TICKS s."""
    # The name in brackets may hold blanks: what counts begins after the last bracket, with field 3.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_megabytes(pid: int) -> float:
    """Answer the resident memory of a process, in units of 10^6 bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


def machine() -> str:
    """Say on what this runs, for whoever compares two results."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    return f"{os.cpu_count()} cores, {model}"
