"""The only door to nft(8)."""

import json
import subprocess
from errno import EIO, ETIMEDOUT
from shutil import which

from typing import Any

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
TIMEOUT_S = 30  # 250 links take 0.03 s, but somebody may be loading a ruleset that keeps the kernel busy


def load(text: str) -> None:
    """Runs nft with this text: it does all of it or nothing. FileNotFoundError if there is no nft. OSError in nft's
    words if it fails, TimeoutError after TIMEOUT_S."""
    _run("nft", "-f", "-", text=text.encode("utf-8", "surrogateescape"))


def ruleset() -> list[dict[str, Any]]:
    """All of the kernel's nft rules, as `nft -j list ruleset` prints them. Raises the same as `load`. nft 1.0.6 aborts
    if a rule names an interface whose name is not UTF-8."""
    found: list[dict[str, Any]] = json.loads(_run("nft", "-j", "list", "ruleset"))["nftables"]
    return found


def installed() -> bool:
    """Whether nft(8) is installed."""
    return which("nft", path=ENVIRONMENT["PATH"]) is not None


def _run(*argv: str, text: bytes = b"") -> bytes:
    try:
        done = subprocess.run(argv, input=text, env=ENVIRONMENT, timeout=TIMEOUT_S, capture_output=True, check=False,
                              cwd="/")
    except subprocess.TimeoutExpired:
        raise TimeoutError(ETIMEDOUT, f"did not end within {TIMEOUT_S} s", " ".join(argv)) from None
    if done.returncode:
        words = done.stderr.decode("utf-8", "backslashreplace").strip() or f"ended with status {done.returncode}"
        raise OSError(EIO, words, " ".join(argv))
    return done.stdout
