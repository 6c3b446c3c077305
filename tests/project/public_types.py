"""`python -m tests.project.public_types` fails unless the types of all that is public are known.

pyright's report is about every module; only imports of users count here. A class counts with
its members.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import promweb
from promweb import instruments, labels, multiprocess, security, testing
from promweb.server import http as server

PUBLIC = [
    f"{module.__name__}.{name}"
    for module in (promweb, instruments, labels, multiprocess, security, server, testing)
    for name in module.__all__
    if name != "__version__"  # text, and no symbol to pyright
]
COMMAND = ("basedpyright", "--verifytypes", "promweb", "--ignoreexternal")


def main() -> None:
    """Print what is not known, and exit with 1 if there is something."""
    # It looks for promweb in the first Python of PATH, and ignores its option for that.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    report = subprocess.run(
        [*COMMAND, "--outputjson"],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        check=False,  # it fails for what is not public, too
    )
    known = {
        symbol["name"]
        for symbol in json.loads(report.stdout)["typeCompleteness"]["symbols"]
        if symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"]
    }
    unknown = [name for name in PUBLIC if name not in known]
    if unknown:
        sys.exit(f"Not fully typed: {', '.join(unknown)}. Reasons: {' '.join(COMMAND)}")
    print(f"Success: {len(PUBLIC)} public names are fully typed")


if __name__ == "__main__":
    main()
