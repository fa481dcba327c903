"""The completion for bash offers every verb and option of the program."""

import subprocess
from argparse import _SubParsersAction

import pytest

from dhcp_lb.verbs.cli import _parser
from tests.beds.lab import CHECKOUT

ASK = """
compopt() { :; }  # only bash itself can call it
source doc/completion/dhcp-lb
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_dhcp_lb
printf '%s\n' "${COMPREPLY[@]}"
"""


def offered(*words: str) -> set[str]:
    """The completions of the last of these words."""
    done = subprocess.run(["bash", "-c", ASK, "bash", "dhcp-lb", *words], cwd=CHECKOUT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def verbs() -> dict[str, set[str]]:
    """Each verb with its options."""
    return {verb: {option for option in child._option_string_actions if option not in ("-h", "--help")}
            for action in _parser()._actions if isinstance(action, _SubParsersAction)
            for verb, child in action.choices.items()}


def test_every_verb_and_every_option() -> None:
    assert offered("") == {*verbs(), "--help", "--version"}
    assert {verb: offered(verb, "-") for verb in verbs()} == verbs()


@pytest.mark.parametrize("words, want", [
    (["st"], {"status"}),
    (["explain", ""], {"--from", "--dev", "--in", "--tcp", "--udp", "--mark"}),
    (["explain", "192.0.2.1", "--f"], {"--from"}),
    (["explain", "192.0.2.1", "--from", ""], set()),
    (["explain", "--from", "192.0.2.1", "--d"], {"--dev"}),
    (["explain", "192.0.2.1", "--tcp", ""], set()),
    (["explain", "192.0.2.1", "--in", "lo"], {"lo"}),
    (["plan", "CONTRIB"], {"CONTRIBUTING.md"}),
    (["status", "--json", ""], set()),
])
def test_what_has_been_typed_is_completed(words: list[str], want: set[str]) -> None:
    assert offered(*words) == want
