"""Run examples as a reader would, each in a process of its own and within a time limit.

``python .ci/examples.py`` runs every ``examples/plot_*.py``; names given are run instead.
``--beside COMMAND``, which may be given several times, runs another command at the same time,
such as mypy: alone it would keep one of two processors busy.

As in the gallery, an example not named ``plot_*`` is shown in the documentation and never run.

The limits are there to end what hangs, not to measure: processor time is limited, because other
work on the machine does not change it, and the time on the clock only generously.
"""

import argparse
import os
import resource
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AT_ONCE = 2
CPU_LIMIT_S = 600  # of the process and each of its workers; an example should take under 60 s
WALL_LIMIT_S = 1800


def run(command: list[str | Path]) -> str:
    """Run one command and say how it ended: empty when it went well."""
    start = time.perf_counter()
    # One thread each: several would only wait for one another.
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
        try:
            outcome = _outcome(process.wait(timeout=WALL_LIMIT_S))
        except subprocess.TimeoutExpired:
            process.kill()
            outcome = f"stopped after {WALL_LIMIT_S} s"
    seconds = time.perf_counter() - start
    name = " ".join(str(part) for part in command).replace(f"{sys.executable} {ROOT}/", "")
    sys.stdout.write(f"{name}: {outcome or 'ok'} ({seconds:.1f} s)\n")
    sys.stdout.flush()
    return outcome


def _outcome(status: int) -> str:
    if status < 0:  # the kernel ends it by SIGXCPU, or by SIGKILL where that is ignored
        return f"ended by signal {-status}, perhaps after {CPU_LIMIT_S} s of processor time"
    return f"exit status {status}" if status else ""


def main(arguments: list[str]) -> int:
    """Run the examples and say whether any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("examples", nargs="*", type=Path)
    parser.add_argument("--beside", action="append", default=[], type=shlex.split)
    given = parser.parse_args(arguments)
    examples = given.examples or sorted((ROOT / "examples").glob("plot_*.py"))
    commands = [*given.beside, *([sys.executable, each.resolve()] for each in examples)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(run, commands))  # all of them, also after a failure
    return int(any(outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
