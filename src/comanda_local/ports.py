"""Ports for servers that start a moment later than their port is chosen."""

import random
import socket
from pathlib import Path

_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
_TRIES = 100


def free_port() -> int:
    """Answer a TCP port on 127.0.0.1 that nobody has.

    It lies below those that the kernel gives to outgoing connections (Linux, ip_local_port_range), where there is
    room: one of those could be a connection's by the time that the server listens.
    """
    highest = _first_outgoing() - 1
    for _ in range(_TRIES if highest > _LOWEST else 0):
        # Not from a seed: test processes that share one must not choose alike.
        candidate = random.SystemRandom().randint(_LOWEST, highest)
        if _is_free(candidate):
            return candidate
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_ports(count: int) -> list[int]:
    """Answer so many of them, no two the same."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return [*found]


def _first_outgoing() -> int:
    try:
        return int(_OUTGOING.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
