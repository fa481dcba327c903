"""The scripts in notify.d: told of transitions, by a process that nobody waits for."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from dhcp_lb.monitor.handover import decode, encode
from tests.beds import box
from tests.test_ns_monitor import FAST, balance, bed, until

ETC, USR = Path("/etc/dhcp-lb-notify.d"), Path("/usr/lib/dhcp-lb/notify.d")
SAID = Path("/run/said")
SCRIPT = f"""#!/bin/sh
{{ echo "$0"; env | grep ^DHCP_LB_ | sort; cat; echo; echo end; }} >>{SAID}
"""


def install(directory: Path, name: str, text: str = SCRIPT, mode: int = 0o755) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(text)
    path.chmod(mode)
    return path


def told(count: int, within_s: float = 20.0) -> list[tuple[str, dict[str, str], object]]:
    """Script, variables and the JSON of so many calls."""
    until("the scripts are told", lambda: SAID.exists() and SAID.read_text().count("\nend\n") >= count,
          within_s)
    found = []
    for call in SAID.read_text().split("\nend\n")[:-1]:
        lines = call.strip("\n").split("\n")
        variables = dict([line.removeprefix("DHCP_LB_").split("=", 1) for line in lines
                          if line.startswith("DHCP_LB_")])
        found.append((lines[0], variables, json.loads("\n".join(lines[1 + len(variables):]))))
    SAID.unlink()
    return found


def test_a_notice_is_what_was_handed_over() -> None:
    notice = {"EVENT": "link-down", "LINK": "$(id)=\udcff", "REASON": "no \"answer\" = none"}
    assert decode(encode(notice)) == notice


@box.boxed
def test_a_link_that_dies_and_works_again_is_told_once_each() -> None:
    with bed("", "interval=0.25 down=1 up=0") as machine:
        script = install(ETC, "tell")
        machine.isps[1].die()
        machine.becomes("eth0")
        (path, variables, status), = told(1)
        assert path == str(script)
        assert abs(int(variables.pop("TIME")) - time.time()) < 60 and variables.pop("EVENT_ID")
        assert variables == {
            "EVENT": "link-down", "LINK": "eth1", "STATE": "dead", "OLD_STATE": "up",
            "REASON": "no answer from the provider's name servers", "ADDRESS": "10.100.1.10",
            "OLD_ADDRESS": "10.100.1.10", "GATEWAY": "10.100.1.1", "TABLE": "1001", "TIER": "1"}
        assert isinstance(status, dict) and [link["state"] for link in status["links"]] == ["up", "dead"]
        machine.isps[1].revive()
        machine.becomes("eth0 eth1")
        assert [(variables["EVENT"], variables["LINK"]) for _, variables, _ in told(1)] == [("link-up", "eth1")]
        box.event("RENEW", "eth0", box.given(0))
        time.sleep(1)
        assert not SAID.exists()


@box.boxed
def test_which_scripts_are_run_and_in_which_order() -> None:
    with bed("", "") as machine:
        install(USR, "50-second")
        install(USR, "10-first")
        install(USR, "20-unwanted")
        install(ETC, "20-unwanted").unlink()
        (ETC / "20-unwanted").symlink_to("/dev/null")
        install(USR, "60-other")
        install(ETC, "60-other", SCRIPT.replace("$0", "the administrator's"))
        install(ETC, "not-executable", mode=0o644)
        install(ETC, "backup~")
        install(ETC, "with.dot")
        install(ETC, "writable", mode=0o775)
        os.chown(install(ETC, "somebody-else-s"), 1, 0)
        install(ETC, "70-fails", "#!/bin/sh\nexit 3\n")
        box.event("RELEASE", "eth1")
        box.set_address("eth1", None)
        machine.becomes("eth0")
        assert [path for path, _, _ in told(3)] == [
            str(USR / "10-first"), str(USR / "50-second"), "the administrator's"]


@box.boxed
def test_what_is_not_run_is_in_the_log() -> None:
    install(ETC, "writable", mode=0o775)
    install(ETC, "fails", "#!/bin/sh\nexit 3\n")
    install(ETC, "no-program", "#!/nowhere\n")
    log = box.Syslog()
    box.STORE.mkdir()
    box.run(box.PROGRAM, "notify", stdin="EVENT=link-up\0LINK=eth0\nnonsense\n")
    assert log.lines() == [
        "/etc/dhcp-lb-notify.d/writable is not run: it and its directory must be root's, and writable by nobody else",
        "/etc/dhcp-lb-notify.d/fails ended with status 3 at link-up",
        "/etc/dhcp-lb-notify.d/no-program is not run: No such file or directory",
        "a notice for the scripts in notify.d is not in the form NAME=VALUE, and is left out"]


@box.boxed
def test_a_script_that_sleeps_for_ever_holds_up_nothing_and_is_ended() -> None:
    with bed(FAST, "interval=0.25 down=1 up=0") as machine:
        install(ETC, "10-sleeps", f"#!/bin/sh\necho $$ >{SAID}.pid\nsleep 1000 & sleep 1000\n")
        install(ETC, "20-tells")
        for _ in range(2):
            machine.isps[1].die()
            assert machine.becomes("eth0") < 5
            machine.isps[1].revive()
            assert machine.becomes("eth0 eth1") < 5
        until("it runs", lambda: Path(f"{SAID}.pid").exists() and Path(f"{SAID}.pid").read_text())
        first = int(Path(f"{SAID}.pid").read_text())
        # One after the other, ten seconds each.
        assert [variables["EVENT"] for _, variables, _ in told(2, 50.0)][:2] == ["link-down", "link-up"]
        until("it and its child are ended", lambda: not lives(first))


def lives(group: int) -> bool:
    """Whether a process of this group is more than a zombie, whom nobody in the box waits for."""
    stats = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
    return any([stat[0] != "Z" and int(stat[2]) == group for stat in stats])


@box.boxed
def test_under_systemd_a_service_of_its_own_runs_them() -> None:
    install(ETC, "tell")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, bed("", FAST, start=False) as machine:
        listener.bind(str(box.STORE / "notify"))
        manager.bind("\0manager")
        machine.start(NOTIFY_SOCKET="@manager")
        machine.isps[1].die()
        machine.becomes("eth0")
        time.sleep(1)
        assert not SAID.exists()  # it is left in the socket
        program = ("import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_FDS'] = '1'; "
                   "os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[2], sys.argv[2:])")
        subprocess.run([sys.executable, "-c", program, str(listener.fileno()), box.PROGRAM, "notify"], check=True,
                       pass_fds=[listener.fileno()], env=box.ENVIRONMENT)
        assert [variables["EVENT"] for _, variables, _ in told(1)] == ["link-down"]


@box.boxed
def test_a_monitor_that_starts_anew_tells_nothing_again() -> None:
    with bed("", "interval=0.25 down=1 up=60") as machine:
        machine.isps[1].die()
        machine.becomes("eth0")
        install(ETC, "tell")
        machine.end(signal.SIGKILL)
        machine.start()
        time.sleep(2)
        assert balance() == "eth0" and not SAID.exists()
