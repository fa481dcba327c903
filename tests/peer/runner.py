"""Starts processes on the router, as a DHCP client would, at the wanted moment, and reports how long they took.

Each line of input is a JSON list of jobs, `{"argv": …, "env": …}`. It starts them at the same time. When all of them
have ended, it prints a JSON list of `{"status", "wall_ms", "cpu_ms", "pid"}`. If a job has `kill_after_s` and still
runs after that time, it is killed with everything that it has started. The jobs have no output and no input.
"""

import json
import os
import signal
import sys
import time
from typing import Any


def start(job: dict[str, Any]) -> int:
    """Starts a job in a process group of its own, so that all of it can be killed. Returns its pid."""
    silence = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    return os.posix_spawn(job["argv"][0], job["argv"], job["env"], file_actions=silence, setpgroup=0)


def run(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    pids = [start(job) for job in jobs]
    results = {}
    for pid, job in zip(pids, jobs):
        if "kill_after_s" in job:
            time.sleep(max(0.0, begin + job["kill_after_s"] - time.perf_counter()))
            os.killpg(pid, signal.SIGKILL)  # nobody has waited for the process yet, so its group exists
    for _ in pids:
        pid, status, usage = os.wait3(0)
        results[pid] = {"status": os.waitstatus_to_exitcode(status), "pid": pid,
                        "wall_ms": (time.perf_counter() - begin) * 1e3,
                        "cpu_ms": (usage.ru_utime + usage.ru_stime) * 1e3}
    return [results[pid] for pid in pids]


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
