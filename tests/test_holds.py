"""The words of disable, drain and enable."""

import math

import pytest

from dhcp_lb.verbs.cli import _parser


@pytest.mark.parametrize("words, wait, cut", [
    ([], None, False), (["--wait"], math.inf, False), (["--wait", "90"], 90, False), (["--wait", "0.5"], 0.5, False),
    (["--cut"], None, True), (["--wait", "600", "--cut"], 600, True),
])
def test_how_long_drain_waits(words: list[str], wait: float | None, cut: bool) -> None:
    options = _parser().parse_args(["drain", "eth0", *words])
    assert (options.link, options.wait, options.cut) == ("eth0", wait, cut)


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "soon", "1,5", ""])
def test_what_is_no_time_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(["drain", "eth0", "--wait", text])
    assert f"invalid seconds value: {text!r}" in capsys.readouterr().err
