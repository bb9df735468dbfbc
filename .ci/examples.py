"""Run examples as a reader would, each in a process of its own and within a time limit.

``python .ci/examples.py`` runs every ``examples/plot_*.py``; names given are run instead.
As in the gallery, an example not named ``plot_*`` is shown in the documentation and never run.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 180  # an example should take under 60 s; the rest is room for a busy machine


def run(example: Path) -> str:
    """Run one example and say how it ended: empty when it went well."""
    start = time.perf_counter()
    try:
        done = subprocess.run([sys.executable, example], cwd=ROOT, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        outcome = f"stopped after {LIMIT_S} s"
    else:
        outcome = f"exit status {done.returncode}" if done.returncode else ""
    seconds = time.perf_counter() - start
    sys.stdout.write(f"{example.relative_to(ROOT)}: {outcome or 'ok'} ({seconds:.1f} s)\n")
    sys.stdout.flush()
    return outcome


def main(names: list[str]) -> int:
    """Run the examples and say whether any failed."""
    chosen = [Path(name).resolve() for name in names]
    examples = chosen or sorted((ROOT / "examples").glob("plot_*.py"))
    outcomes = [run(example) for example in examples]  # all of them, also after a failure
    return int(any(outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
