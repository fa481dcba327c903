"""Questions to a name server, and what is taken for an answer; literal messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcp_lb.monitor.dns import AAAA, NS, A, Reply, query, question, reply

ROOT = bytes.fromhex("00 0002 0001")
WEB = b"\x03web\x07example\x00" + bytes.fromhex("0001 0001")
ADDRESS = bytes.fromhex("c00c 0001 0001 0000003c 0004 c6336450")  # 198.51.100.80, for 60 s
ALIAS = bytes.fromhex("c00c 0005 0001 0000000a 0002 c010")


def test_a_question_is_what_the_rfc_says() -> None:
    assert question("", NS) == ROOT
    assert question("web.example", A) == WEB
    assert query(0x1234, ROOT) == bytes.fromhex("1234 0100 0001 0000 0000 0000 00 0002 0001")


def test_the_addresses_are_of_the_family_that_was_asked_for() -> None:
    asked = question("web.example", AAAA)
    aaaa = bytes.fromhex("c00c 001c 0001 0000003c 0010 20010db8 00000000 00000000 00000080")
    body = bytes.fromhex("1234 8180 0001 0002 0000 0000") + asked
    assert reply(body + ADDRESS + aaaa, 0x1234, asked) == Reply(0, ("2001:db8::80",), 60)
    assert reply(bytes.fromhex("1234 8180 0001 0001 0000 0000") + WEB + aaaa, 0x1234, WEB) == Reply(0)
    assert reply(bytes.fromhex("1234 8180 0001 0001 0000 0000") + ROOT + aaaa, 0x1234, ROOT) == Reply(0)


@pytest.mark.parametrize("header, body, found", [
    ("1234 8180 0001 0000 0000 0000", WEB, Reply(0)),
    ("1234 8583 0001 0000 0001 0000", WEB + b"authority", Reply(3)),
    ("1234 8105 0001 0000 0000 0000", WEB.replace(b"web", b"WeB"), Reply(5)),
    ("1234 8180 0001 0001 0000 0000", WEB + ADDRESS, Reply(0, ("198.51.100.80",), 60)),
    ("1234 8180 0001 0002 0000 0000", WEB + ALIAS + ADDRESS, Reply(0, ("198.51.100.80",), 60)),
    ("1234 8380 0001 0003 0000 0000", WEB + ADDRESS * 2 + ADDRESS[:9], Reply(0, ("198.51.100.80",) * 2, 60)),
    ("1234 8180 0001 ffff 0000 0000", WEB + ADDRESS, Reply(0, ("198.51.100.80",), 60)),
    ("1234 8180 0001 0001 0000 0000", WEB + b"\xff", Reply(0)),
    ("1234 8180 0001 0001 0000 0000", WEB + ADDRESS[:2] + b"\x00\x1c" + ADDRESS[4:], Reply(0)),  # an AAAA of 4 bytes
    ("1234 8181 0000 0000 0000 0000", b"", Reply(1)),  # some say nothing but FORMERR
])
def test_an_answer(header: str, body: bytes, found: Reply) -> None:
    assert reply(bytes.fromhex(header) + body, 0x1234, WEB) == found


@pytest.mark.parametrize("header, body", [
    ("1235 8180 0001 0000 0000 0000", WEB),  # another's number
    ("1234 0100 0001 0000 0000 0000", WEB),  # a question
    ("1234 a180 0001 0000 0000 0000", WEB),  # another kind of message
    ("1234 8180 0001 0000 0000 0000", WEB[:-1]),
    ("1234 8180 0001 0000 0000 0000", ROOT),
    ("1234 8180 0001 0000 0000 0000", WEB.replace(b"web", b"wab")),
    ("1234 8180 0002 0000 0000 0000", WEB),
    ("1234 8180 0000 0000 0000 0000", b""),  # no error, and no answer either
    ("1234 8181 0000 0000 0000 0000", b"x"),
    ("1234 8181 0000 0000 0000", b""),
])
def test_what_is_no_answer(header: str, body: bytes) -> None:
    assert reply(bytes.fromhex(header) + body, 0x1234, WEB) is None


@given(st.binary(max_size=80))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    reply(data, 0x1234, WEB)
    reply(bytes.fromhex("1234 8180 0001 00ff 0000 0000") + WEB + data, 0x1234, WEB)
