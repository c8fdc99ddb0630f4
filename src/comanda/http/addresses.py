"""Whose request it is: the client's address, through the load balancer and no further than it is trusted."""

import ipaddress
from functools import lru_cache

from comanda.settings import Network


def client_address(peer: str, forwarded_for: str, proxies: tuple[Network, ...]) -> str:
    """Answer the client's address.

    Args:
        peer: who holds the connection.
        forwarded_for: X-Forwarded-For, empty without one. Every proxy adds its peer to it, on the right; what stands
            further left than our own proxies is the client's word, and worth nothing.
        proxies: the networks that are believed.

    Returns:
        The nearest address that is not one of ours, an IPv6 one as its /64, which is what one subscriber has.
    """
    chain = [peer]
    if forwarded_for and proxies:
        chain += [part.strip() for part in reversed(forwarded_for.split(",")[-20:])]
    nearest = peer
    for address in chain:
        if _parse(address) is None:
            break
        nearest = address
        if not is_within(address, proxies):
            break
    parsed = _parse(nearest)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return nearest if parsed is None else str(parsed)


@lru_cache(maxsize=4096)
def is_within(address: str, networks: tuple[Network, ...]) -> bool:
    """Answer whether an address, or a whole /64 as `client_address` gives it, is in one of the networks."""
    parsed = _parse(address.partition("/")[0])
    return parsed is not None and any(parsed in network for network in networks)


@lru_cache(maxsize=4096)
def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed
