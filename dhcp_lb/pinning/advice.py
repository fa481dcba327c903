"""Warnings about pins for `status` and `check`: what keeps connections from being pinned to their link."""

import os

from ..commands import rule_text
from ..config import Config
from ..model import LOST, NO, NO_NFT, State
from ..rtnetlink import Rtnetlink
from .nft import ruleset
from .overlap import overlaps
from .pins import NOT_PINNED, are_wanted, foreign_rules
from .table import FILE

NFTABLES = "/etc/nftables.conf"
INCLUDE = f'include "{os.path.dirname(FILE)}/*.nft"'
OTHER_BITS = "give that rule other bits, or dhcp-lb with `marks = MASK`"


def now(kernel: Rtnetlink, config: Config, state: State) -> tuple[str, ...]:
    """Warnings, if connections are not pinned although they should be. OSError if the kernel cannot be asked."""
    if config.settings.pin == NO:
        return ()
    if state.pinned == LOST:
        return (f"the nft table inet dhcp-lb is gone, so {NOT_PINNED}: run `dhcp-lb apply`",)
    if state.pinned == NO_NFT:
        return (f"there is no nft, so {NOT_PINNED}: install nftables and run `dhcp-lb apply`, or set `pin = no`",)
    if not are_wanted(config):
        return ()
    if not (found := _rules(kernel, config)) and not state.pinned:
        found = (f"{NOT_PINNED}, until `dhcp-lb apply`",)
    return found


def before(config: Config) -> tuple[str, ...]:
    """Warnings about what will keep connections from being pinned. Only root can see all of it, and in a chroot
    perhaps nobody can see anything, so what cannot be read is left out."""
    if not are_wanted(config):
        return ()
    found: list[str] = []
    try:
        found += _rules(Rtnetlink(), config)
    except OSError:
        pass
    try:
        found += [f"{place} are bits of `marks = 0x{config.settings.marks:08x}`: {OTHER_BITS}"
                  for place in overlaps(ruleset(), config.settings.marks)]
    except FileNotFoundError:
        found.append(f"there is no nft, so {NOT_PINNED}: install nftables")
    except OSError as error:
        if os.geteuid() == 0:
            found.append(f"nft does not tell its rules: {error.strerror}")
    try:
        with open(NFTABLES, encoding="utf-8", errors="surrogateescape") as file:
            if forgets(file.read()):
                found.append(f"{NFTABLES} flushes the ruleset, and then {NOT_PINNED} until `dhcp-lb apply`: add the "
                             f"line `{INCLUDE}` at its end")
    except OSError:
        pass  # there is no such file, or this user may not read it
    return tuple(found)


def forgets(nftables: str) -> bool:
    """Pure: whether a file for nft(8), given as text, flushes the ruleset and does not include our table
    afterwards."""
    lines = [line.partition("#")[0].split() for line in nftables.splitlines()]
    flushes = [place for place, words in enumerate(lines) if words[:2] == ["flush", "ruleset"]]
    includes = [place for place, words in enumerate(lines)
                if words[:1] == ["include"] and os.path.dirname(FILE) in "".join(words)]
    return bool(flushes) and max(flushes) > max(includes, default=-1)


def _rules(kernel: Rtnetlink, config: Config) -> tuple[str, ...]:
    return tuple([f"rule {rule_text(rule)} uses bits of `marks = 0x{config.settings.marks:08x}`, so {NOT_PINNED}: "
                  f"{OTHER_BITS}" for rule in foreign_rules(kernel, config.settings.marks)])
