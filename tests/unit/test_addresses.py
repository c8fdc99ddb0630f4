"""Whose request it is, whatever a client writes into X-Forwarded-For."""

import ipaddress

import pytest

from comanda.http.addresses import client_address, is_within

PROXIES = (ipaddress.ip_network("10.0.0.0/16"), ipaddress.ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("203.0.113.1", "", "203.0.113.1"),
        # Not one of our proxies: nothing that it says counts.
        ("203.0.113.1", "198.51.100.1", "203.0.113.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.1, 10.0.7.7", "203.0.113.1"),
        ("10.0.0.1", "10.0.0.9", "10.0.0.9"),
        # What cannot be read ends the chain: the proxy nearest to it is charged.
        ("10.0.0.1", "203.0.113.1, unknown", "10.0.0.1"),
        ("10.0.0.1", "unknown, 10.0.7.7", "10.0.7.7"),
        ("10.0.0.1", ",,,", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.1:443", "10.0.0.1"),
        # Longer than any chain of proxies of ours.
        ("10.0.0.1", ", ".join(["10.0.0.2"] * 10_000), "10.0.0.2"),
        # One subscriber has a whole /64.
        ("2001:db8::1", "", "2001:db8::/64"),
        ("fd00::1", "2001:db8:0:1:ffff::1", "2001:db8:0:1::/64"),
        # The same client, however it is written.
        ("::ffff:10.0.0.1", "::ffff:203.0.113.1", "203.0.113.1"),
        ("::ffff:203.0.113.1", "", "203.0.113.1"),
        # Not an address at all: a Unix socket, a test client.
        ("", "203.0.113.1", ""),
        ("testclient", "", "testclient"),
    ],
)
def test_client_address(peer: str, forwarded_for: str, client: str) -> None:
    assert client_address(peer, forwarded_for, PROXIES) == client


def test_without_proxies_the_header_is_nothing() -> None:
    assert client_address("10.0.0.1", "203.0.113.1", ()) == "10.0.0.1"


def test_is_within() -> None:
    assert is_within("10.0.1.2", PROXIES)
    assert is_within("::ffff:10.0.1.2", PROXIES)
    assert is_within("fd00::/64", PROXIES)
    assert not is_within("10.1.0.1", PROXIES)
    assert not is_within("", PROXIES)
    assert not is_within("10.0.1.2", ())
