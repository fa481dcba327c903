"""The words of check=, interval=, down= and up=, and what is said of each mistake."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcp_lb.targets import DNS, FORMS, GATEWAY, HTTP, LEASE, PING, TCP, Target, seconds, targets


@pytest.mark.parametrize("text, found", [
    ("lease", [Target(LEASE)]),
    ("gateway", [Target(GATEWAY)]),
    ("none", []),
    ("192.0.2.1", [Target(PING, "192.0.2.1")]),
    ("192.0.2.1:53", [Target(TCP, "192.0.2.1", 53)]),
    ("2001:db8::1", [Target(PING, "2001:db8::1")]),
    ("2001:DB8:0:0::1", [Target(PING, "2001:db8::1")]),
    ("[2001:db8::1]:443", [Target(TCP, "2001:db8::1", 443)]),
    ("dns:example.org", [Target(DNS, "example.org")]),
    ("dns:_x.Example.ORG.", [Target(DNS, "_x.example.org")]),
    ("dns:lease", [Target(DNS, "lease")]),
    ("http://example.org/", [Target(HTTP, "example.org", 80, "/")]),
    ("http://example.org:8080/a/b?c=d&e", [Target(HTTP, "example.org", 8080, "/a/b?c=d&e")]),
    ("http://192.0.2.1/x", [Target(HTTP, "192.0.2.1", 80, "/x")]),
    ("http://192.0.2.1:81/x", [Target(HTTP, "192.0.2.1", 81, "/x")]),
    ("http://[2001:db8::1]/x", [Target(HTTP, "2001:db8::1", 80, "/x")]),
    ("http://[2001:db8::1]:81/x", [Target(HTTP, "2001:db8::1", 81, "/x")]),
    ("lease,192.0.2.1,198.51.100.1:80", [Target(LEASE), Target(PING, "192.0.2.1"), Target(TCP, "198.51.100.1", 80)]),
    ("192.0.2.1,192.0.2.1:1", [Target(PING, "192.0.2.1"), Target(TCP, "192.0.2.1", 1)]),
])
def test_each_form_is_read(text: str, found: list[Target]) -> None:
    assert targets(text) == tuple(found)


HOST = "must be the address of a host"


@pytest.mark.parametrize("text, message", [
    ("", f"nothing: must be {FORMS}"),
    ("lease,", f"nothing: must be {FORMS}"),
    ("Lease", f"Lease: must be {FORMS}"),
    ("ping", f"ping: must be {FORMS}"),
    ("dns", f"dns: must be {FORMS}"),
    ("fritzbox:80", f"fritzbox:80: must be {FORMS}"),
    ("1", f"1: must be {FORMS}"),
    ("none,lease", "none beside other targets: must be alone"),
    ("192.0.2.1,none", "none beside other targets: must be alone"),
    ("lease,lease", "lease stands twice: must be there once"),
    ("dns:a.example,dns:A.example.", "dns:A.example. stands twice: must be there once"),
    (",".join(f"192.0.2.{n}" for n in range(1, 10)), "9 targets: must be 1 to 8"),
    ("example.org", f"example.org: is not an IPv4 address: {HOST}"),
    ("192.0.2", f"192.0.2: is not an IPv4 address: {HOST}"),
    ("192.0.2.256", f"192.0.2.256: is not an IPv4 address: {HOST}"),
    ("192.0.2.1/24", f"192.0.2.1/24: is not an IPv4 address: {HOST}"),
    ("127.0.0.1", f"127.0.0.1: 127.0.0.1 is a loopback address: {HOST}"),
    ("0.0.0.0:53", f"0.0.0.0:53: 0.0.0.0 is in 0.0.0.0/8, which no host can have: {HOST}"),
    ("224.0.0.1", f"224.0.0.1: 224.0.0.1 is a multicast or reserved address: {HOST}"),
    ("255.255.255.255", f"255.255.255.255: 255.255.255.255 is the broadcast address: {HOST}"),
    ("192.0.2.1:", "192.0.2.1:: port is missing: must be 1 to 65535"),
    ("192.0.2.1:0", "192.0.2.1:0: port 0: must be 1 to 65535"),
    ("192.0.2.1:65536", "192.0.2.1:65536: port 65536: must be 1 to 65535"),
    ("192.0.2.1:http", "192.0.2.1:http: port http: must be 1 to 65535"),
    ("192.0.2.1:٣", "192.0.2.1:٣: port ٣: must be 1 to 65535"),
    ("2001:db8::x", f"2001:db8::x: is not an IPv6 address: {HOST}"),
    ("2001:db8::1%eth0", f"2001:db8::1%eth0: is not an IPv6 address: {HOST}"),
    ("::1", "::1: must be the address of a host on the Internet"),
    ("fe80::1", "fe80::1: must be the address of a host on the Internet"),
    ("ff02::1", "ff02::1: must be the address of a host on the Internet"),
    ("::ffff:192.0.2.1", "::ffff:192.0.2.1: must be the address of a host on the Internet"),
    ("[2001:db8::1]", f"[2001:db8::1]: must be {FORMS}"),
    ("[2001:db8::1]:", "[2001:db8::1]:: port is missing: must be 1 to 65535"),
    ("[192.0.2.1]:80", f"[192.0.2.1]:80: is not an IPv6 address: {HOST}"),
    ("dns:", "dns:: must be dns:NAME with the name of a domain"),
    ("dns:a..b", "dns:a..b: must be dns:NAME with the name of a domain"),
    ("dns:é.example", "dns:é.example: must be dns:NAME with the name of a domain"),
    (f"dns:{'a' * 64}.example", f"dns:{'a' * 64}.example: must be dns:NAME with the name of a domain"),
    ("https://example.org/", "https://example.org/: must be http://, because a probe speaks no TLS, "
     "or ADDRESS:443, which tests whether a connection is accepted"),
    ("http://example.org", "http://example.org: must be http://HOST[:PORT]/PATH"),
    ("http:///x", "http:///x: must be http://HOST[:PORT]/PATH"),
    ("http:example.org/", f"http:example.org/: must be {FORMS}"),
    ("http://example.org:0/", "http://example.org:0/: port 0: must be 1 to 65535"),
    ("http://example.org:/", "http://example.org:/: port is missing: must be 1 to 65535"),
    ("http://exa$mple/", "http://exa$mple/: must have an address or the name of a host after http://"),
    ("http://me@example.org/", "http://me@example.org/: must have an address or the name of a host after http://"),
    ("http://192.0.2.999/", f"http://192.0.2.999/: is not an IPv4 address: {HOST}"),
    ("http://[::1]/", "http://[::1]/: must be the address of a host on the Internet"),
    ("http://example.org/é", "http://example.org/é: must have a path of printable ASCII characters"),
])
def test_each_mistake_says_what_it_must_be(text: str, message: str) -> None:
    with pytest.raises(ValueError) as wrong:
        targets(text)
    assert str(wrong.value) == message


@pytest.mark.parametrize("text, value", [("2", 2.0), ("0.2", 0.2), ("0.25", 0.25), ("3600", 3600.0), ("02.50", 2.5)])
def test_seconds_are_decimal(text: str, value: float) -> None:
    assert seconds(text, 0.2, 3600) == value


@pytest.mark.parametrize("text", ["", ".", "1.", ".5", "0.1", "0.19", "3600.1", "0.255", "2s", "-1", "+2", "1e3",
                                  "nan", "inf", "1_0", "٣", "00000001", "1.²", "0x2"])
def test_seconds_that_are_none(text: str) -> None:
    with pytest.raises(ValueError) as wrong:
        seconds(text, 0.2, 3600)
    assert str(wrong.value) == "must be 0.2 to 3600 seconds, with up to two digits after the point"


@given(st.text(max_size=40) | st.text("lease,dnshttp:/[]0123456789.abcdef-", max_size=40))
def test_no_text_makes_it_fail_in_another_way(text: str) -> None:
    for wrong in mistake(lambda: targets(text)), mistake(lambda: seconds(text, 0, 3600)):
        assert not wrong or "must " in wrong


def mistake(read: Callable[[], object]) -> str:
    try:
        read()
    except ValueError as wrong:
        return str(wrong)
    return ""
