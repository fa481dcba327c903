"""debian/tests in a virtual machine of each release: what needs systemd, a boot and a kernel of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .build import copy_source
from .vm import autopkgtest


@pytest.mark.skipif(not shutil.which("autopkgtest"), reason="needs autopkgtest and qemu-system-x86")
def test_autopkgtest(release: str, deb: Path, tmp_path: Path) -> None:
    copy_source(tmp_path / "source")
    done = autopkgtest(release, deb, tmp_path / "source", tmp_path / "output")
    summary = (tmp_path / "output" / "summary").read_text()
    assert [line.split()[:2] for line in summary.splitlines()] == [["container", "PASS"], ["machine", "PASS"]], (
        done.stdout[-20000:])
    assert done.returncode == 0
