"""What is in the way of pinned connections."""

import pytest

from dhcp_lb.pinning.advice import INCLUDE, forgets

NAT = "table ip nat {\n}\n"


@pytest.mark.parametrize("text, want", [
    ("", False), (NAT, False), (f"flush ruleset\n{NAT}", True), (f"flush ruleset\n{NAT}{INCLUDE}\n", False),
    (f"{INCLUDE}\nflush ruleset\n{NAT}", True), (f"\tflush  ruleset # all\n# {INCLUDE}\n", True),
    (f"# flush ruleset\n{NAT}", False), ("flush ruleset\ninclude \"/etc/nftables.d/*.nft\"\n", True),
    ('flush ruleset\ninclude "/var/lib/dhcp-lb/dhcp-lb.nft"\n', False), ("flush ruleset inet\n", True),
])
def test_a_file_that_flushes_the_ruleset_must_then_include_our_table(text: str, want: bool) -> None:
    assert forgets(text) == want
