"""Run examples as a reader would, each in a process of its own and within a time limit.

``python .ci/examples.py`` runs every ``examples/plot_*.py``; names given are run instead.
As in the gallery, an example not named ``plot_*`` is shown in the documentation and never run.

The limits are there to end what hangs, not to measure: processor time is limited, because other
work on the machine does not change it, and the time on the clock only generously.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPU_LIMIT_S = 600  # of the process and each of its workers; an example should take under 60 s
WALL_LIMIT_S = 1800


def _limit_cpu() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))


def run(example: Path) -> str:
    """Run one example and say how it ended: empty when it went well."""
    start, used = time.perf_counter(), os.times()
    try:
        done = subprocess.run(
            [sys.executable, example],
            cwd=ROOT,
            timeout=WALL_LIMIT_S,
            check=False,
            preexec_fn=_limit_cpu,
        )
    except subprocess.TimeoutExpired:
        outcome = f"stopped after {WALL_LIMIT_S} s"
    else:
        outcome = _outcome(done.returncode)
    now = os.times()
    cpu = now.children_user + now.children_system - used.children_user - used.children_system
    seconds = f"{time.perf_counter() - start:.1f} s, {cpu:.1f} s of processor time"
    sys.stdout.write(f"{example.relative_to(ROOT)}: {outcome or 'ok'} ({seconds})\n")
    sys.stdout.flush()
    return outcome


def _outcome(status: int) -> str:
    if status < 0:  # the kernel ends it by SIGXCPU, or by SIGKILL where that is ignored
        return f"ended by signal {-status}, perhaps after {CPU_LIMIT_S} s of processor time"
    return f"exit status {status}" if status else ""


def main(names: list[str]) -> int:
    """Run the examples and say whether any failed."""
    chosen = [Path(name).resolve() for name in names]
    examples = chosen or sorted((ROOT / "examples").glob("plot_*.py"))
    outcomes = [run(example) for example in examples]  # all of them, also after a failure
    return int(any(outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
