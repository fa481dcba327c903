"""debian/tests in a virtual machine of each release: what needs systemd, a boot and a kernel of its own. They began
with the first of all tests (conftest.py), and are asked here for what came out."""

from __future__ import annotations

import shutil

import pytest

from tests.beds.lab import NotOffered
from tests.beds.lab.steps import step

from .conftest import MACHINES, ON_AMD64


@pytest.mark.skipif(not ON_AMD64, reason="needs amd64: the virtual machines have its kernel")
@pytest.mark.skipif(not shutil.which("autopkgtest"), reason="needs autopkgtest and qemu-system-x86")
def test_autopkgtest(release: str, request: pytest.FixtureRequest) -> None:
    machines = request.config.stash[MACHINES]
    if machines.running.poll() is None:
        step("waiting for the virtual machines, which began with the first test", "at most ten minutes")
        machines.running.wait()
    not_offered = machines.directory / release / "not-offered"
    if not_offered.exists():
        raise NotOffered(not_offered.read_text())
    print((machines.directory / "said").read_text())
    # What the machine says on its console is no text that anybody promises.
    print((machines.directory / release / "log").read_text(errors="replace")[-20000:])
    summary = (machines.directory / release / "output" / "summary").read_text()
    assert [line.split()[:2] for line in summary.splitlines()] == [["container", "PASS"], ["machine", "PASS"]]
    assert (machines.directory / release / "status").read_text() == "0"
