"""debian/tests/machine in a virtual machine of each release: what needs systemd, a boot and a kernel of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.beds.lab.steps import step

from .vm import autopkgtest


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs amd64: the virtual machines have its kernel")
@pytest.mark.skipif(not shutil.which("autopkgtest"), reason="needs autopkgtest and qemu-system-x86")
@pytest.mark.timeout(4500)  # autopkgtest ends before, and says where
def test_autopkgtest(release: str, deb: Path, tmp_path: Path) -> None:
    step(f"a virtual machine of Debian {release}", "half an hour")
    status = autopkgtest(release, deb, tmp_path)
    # What the machine says on its console is no text that anybody promises.
    print((tmp_path / "log").read_text(errors="replace")[-20000:])
    summary = (tmp_path / "output" / "summary").read_text()
    assert [line.split()[:2] for line in summary.splitlines()] == [["machine", "PASS"]]
    assert status == 0
