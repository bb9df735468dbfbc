"""Rules of this project that no linter knows. Exit status 1 and one line for each breach.

1. Every ``torch.load`` has ``weights_only=True``: a checkpoint is data, never code.
2. The wording of CONTRIBUTING.md: we mitigate; nothing "debiases" and no model "is fair".
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = ("skfairlatent", "tests", "examples", "docs")
PROSE = (*CODE, "README.md", "CHANGELOG.md")
GENERATED = {"_build", "auto_examples", "generated"}
WORDING = re.compile(r"de-?bias|(?:guarantee\w*|ensures?)\s+(?:\w+\s+){0,3}fair", re.IGNORECASE)


def files(places: tuple[str, ...], *suffixes: str) -> Iterator[Path]:
    """Yield the files of the given places that are written by hand."""
    for place in places:
        path = ROOT / place
        candidates = [path] if path.is_file() else sorted(path.rglob("*"))
        for candidate in candidates:
            if candidate.suffix in suffixes and not GENERATED & set(candidate.parts):
                yield candidate


def is_torch_load(node: ast.AST) -> bool:
    """Tell whether a syntax node is a call of ``torch.load``."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"


def unsafe_loads(path: Path) -> Iterator[str]:
    """Yield a message for each ``torch.load`` without a literal ``weights_only=True``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.ImportFrom) and node.module == "torch":
            if any(alias.name == "load" for alias in node.names):
                yield f"{path}:{node.lineno}: write torch.load in full, so that it can be checked"
        elif isinstance(node, ast.Call) and is_torch_load(node):
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if given.get("weights_only") != "True":
                yield f"{path}:{node.lineno}: torch.load needs weights_only=True"


def promises(path: Path) -> Iterator[str]:
    """Yield a message for each line that promises more than the method gives."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if found := WORDING.search(line):
            yield f"{path}:{number}: {found.group()!r}: say 'mitigate', and promise nothing"


def main() -> int:
    """Check every file and say what was found."""
    found = [message for path in files(CODE, ".py") for message in unsafe_loads(path)]
    found += [message for path in files(PROSE, ".py", ".rst", ".md") for message in promises(path)]
    for message in found:
        sys.stderr.write(f"{message}\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
