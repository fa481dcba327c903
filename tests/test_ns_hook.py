"""The hook is a guest in dhclient-script's shell: a fault there costs the lease (dhclient declines it)."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beds.lab import Isp, Lab

HOOKS = "/etc/dhcp/dhclient-exit-hooks.d"
HOOK = f"{HOOKS}/dhcp-lb"
RENEWAL = "reason=RENEW interface=eth0"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One link, down, for tests that change nothing."""
    with Lab([Isp("eth0")]) as lab:
        yield lab


@pytest.fixture
def fresh() -> Iterator[Lab]:
    """The same link, for one test alone."""
    with Lab([Isp("eth0")]) as lab:
        yield lab


def assert_bound_at_once(lab: Lab) -> None:
    lab.router.ifup()
    assert [event.split()[0] for event in lab.router.events("eth0")] == ["PREINIT", "BOUND"]


def is_balanced(lab: Lab) -> bool:
    return bool(lab.router.ip("route show table all proto 109"))


def count_runs(lab: Lab) -> Path:
    """Makes the program add an `x` to this file each time it runs."""
    program = lab.router.path("/usr/bin/dhcp-lb")
    counting = 'import sys\nopen("/runs", "a").write("x")\n'
    program.write_text(program.read_text().replace("import sys\n", counting))
    return lab.router.path("/runs")


@pytest.mark.parametrize("event", ["", "reason=PREINIT interface=eth0", "reason=RENEW",
                                   "reason=RENEW interface=lan0", RENEWAL, "reason=EXPIRE interface=eth0"])
def test_it_survives_a_strict_shell_and_leaves_nothing_in_it(lab: Lab, event: str) -> None:
    said = lab.router.sh(f"""
        set -eu
        {event}
        status=
        set >/tmp/before
        . {HOOK}
        status=$?
        set | sed "s/^status='0'$/status=''/" >/tmp/after
        diff /tmp/before /tmp/after
    """)
    assert said == ""


@pytest.mark.parametrize("fault", ["rm /usr/bin/dhcp-lb", "chmod -x /usr/bin/dhcp-lb",
                                   "printf '#!/bin/sh\nexit 3\n' >/usr/bin/dhcp-lb", "rm /etc/dhcp-lb",
                                   "echo garbage >/etc/dhcp-lb", "rm -r /usr/share/dhcp-lb"])
def test_no_fault_of_ours_costs_the_lease(fresh: Lab, fault: str) -> None:
    fresh.router.sh(fault)
    assert_bound_at_once(fresh)
    assert fresh.connect(fresh.router, 10) == {"eth0": 10}


@pytest.mark.parametrize("remains", ["rm /usr/bin/dhcp-lb", "rm /usr/bin/dhcp-lb /etc/dhcp-lb"])
def test_it_is_silent_when_the_program_is_gone(fresh: Lab, remains: str) -> None:
    fresh.router.sh(remains)
    done = fresh.router.try_run("sh", "-c", f"{RENEWAL}; export reason interface; . {HOOK}")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize("event", ["", "reason=PREINIT interface=eth0", "reason=BOUND interface=lan0"])
def test_it_starts_no_process_when_there_is_nothing_to_do(lab: Lab, event: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    lab.router.ip("link set eth0 group 109")  # as it is once it has been seen
    shell = lab.router.argv("dash", "-c", f"{event}\n. {HOOK}")
    subprocess.run(["strace", "-f", "-o", trace, "-e", "trace=process", *shell], check=True)
    _, executed, after = trace.read_text().rpartition("execve(")
    assert "dash" in executed + after.partition("\n")[0]
    assert "clone" not in after and "fork" not in after


def test_the_program_itself_may_be_linked_as_the_hook_as_in_2009(fresh: Lab) -> None:
    fresh.router.sh(f"rm {HOOK}; ln -s /usr/bin/dhcp-lb {HOOK}")
    assert_bound_at_once(fresh)
    assert is_balanced(fresh)


def test_the_program_may_be_linked_under_another_name(fresh: Lab) -> None:
    fresh.router.sh(f"rm {HOOK}; ln -s /usr/bin/dhcp-lb {HOOKS}/balance")
    assert_bound_at_once(fresh)
    assert is_balanced(fresh)


def test_the_link_of_2009_does_nothing_beside_the_shipped_hook(fresh: Lab) -> None:
    fresh.router.sh(f"ln -s /usr/bin/dhcp-lb {HOOKS}/balance")
    runs = count_runs(fresh)
    fresh.router.dhclient("eth0")
    assert is_balanced(fresh)
    assert runs.read_text() == "xx"  # PREINIT, BOUND
