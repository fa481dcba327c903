"""How the answers to debconf's questions change /etc/dhcp-lb."""

from __future__ import annotations

import pytest

from dhcp_lb.maintainer.edit import edit

SHIPPED = b"""\
# The uplinks.
#eth0 table-eth0 200 1
"""

OWNED = b"""\
# at home
eth0\ttable-eth0  200 1   # the fast one
balance-table = uplinks 250

# the office
wlan0 dsl 201 2 gateway=192.0.2.1
"""
POLICY = b"from 10.0.5.0/24 -> wlan0 only\ntcp -> eth0\n"

ETH0 = {b"eth0": (b"200", b"1")}
WLAN0 = {b"wlan0": (b"201", b"2")}


@pytest.mark.parametrize("text", [b"", b"# nothing", SHIPPED, b"balance-table = uplinks 250\n"])
def test_no_answer_leaves_a_file_without_links_alone(text: bytes) -> None:
    assert edit(text, {}) == text


@pytest.mark.parametrize("text", [OWNED, OWNED + POLICY, OWNED.rstrip(b"\n"), OWNED.replace(b"\n", b"\r\n")])
def test_the_same_answers_leave_the_file_byte_for_byte(text: bytes) -> None:
    assert edit(text, {**WLAN0, **ETH0}) == text


def test_a_first_link_goes_to_the_end() -> None:
    assert edit(SHIPPED, ETH0) == SHIPPED + b"eth0 table-eth0 200 1\n"
    assert edit(b"# x", ETH0) == b"# x\neth0 table-eth0 200 1\n"


def test_a_further_link_goes_behind_the_last() -> None:
    assert edit(b"eth0 a 200 1\n# end\n", {**ETH0, **WLAN0}) == (
        b"eth0 a 200 1\nwlan0 table-wlan0 201 2\n# end\n"
    )


def test_new_numbers_keep_options_comments_and_white_space() -> None:
    assert edit(OWNED, {b"eth0": (b"300", b"7"), b"wlan0": (b"201", b"9")}) == (
        OWNED.replace(b"200 1", b"300 7").replace(b"201 2", b"201 9")
    )


def test_a_deselected_link_goes_and_takes_nothing_along() -> None:
    assert edit(OWNED + POLICY, ETH0).endswith(POLICY)  # that wlan0 is no link any more is told by `check`
    assert edit(OWNED, ETH0) == OWNED.replace(b"wlan0 dsl 201 2 gateway=192.0.2.1\n", b"")
    assert edit(OWNED, {b"ppp0": (b"9", b"1")}) == (
        b"# at home\nppp0 table-ppp0 9 1\nbalance-table = uplinks 250\n\n# the office\n"
    )


def test_a_link_that_debconf_cannot_express_stays() -> None:
    text = "é€ a 200 1\n$(id) b 201 1\n".encode()
    assert edit(text, WLAN0) == text + b"wlan0 table-wlan0 201 2\n"


def test_a_line_of_too_few_fields_is_no_link_to_be_deselected() -> None:
    text = b"eth0 table-eth0 200 1\njunk\n"
    assert edit(text, {b"eth0": (b"200", b"1")}) == text


@pytest.mark.parametrize("text, check, want", [
    (OWNED, b"", OWNED),
    (OWNED, b"9.9.9.9", OWNED + b"check = 9.9.9.9\n"),
    (OWNED.rstrip(b"\n"), b"9.9.9.9", OWNED + b"check = 9.9.9.9\n"),
    (OWNED + b"check  =\tlease,9.9.9.9 # mine\n", b"", OWNED + b"check  =\tlease,9.9.9.9 # mine\n"),
    (OWNED + b"check  =\tlease,9.9.9.9 # mine\n" + POLICY, b"gateway", OWNED + b"check  =\tgateway # mine\n" + POLICY),
    (OWNED + b"check = 9.9.9.9\r\n", b"9.9.9.9", OWNED + b"check = 9.9.9.9\r\n"),
    (OWNED + b"# check = 9.9.9.9\n", b"gateway", OWNED + b"# check = 9.9.9.9\ncheck = gateway\n"),
    (OWNED + b"check = 1.1.1.1 2.2.2.2\n", b"gateway", OWNED + b"check = 1.1.1.1 2.2.2.2\n"),  # for its owner to find
    (OWNED + b"check = # 9.9.9.9\n", b"gateway", OWNED + b"check = # 9.9.9.9\n"),
])
def test_who_is_asked_whether_a_link_works(text: bytes, check: bytes, want: bytes) -> None:
    assert edit(text, {**ETH0, **WLAN0}, check) == want


def test_a_mistake_stays_for_its_owner() -> None:
    assert edit(b"eth0 oops # 200 1\n", ETH0) == b"eth0 oops # 200 1\n"
