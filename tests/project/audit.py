"""`make audit`: the licences and the known vulnerabilities of what promweb installs.

    python -m tests.project.audit FOLDER [--licences]

FOLDER is what `pip install --target FOLDER` filled. Exits with 1 for a finding, and with 2 if the
advisories cannot be reached: without them a package is not known to be safe.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from typing import Any

FOUND, UNKNOWN = 1, 2

PERMITTED = re.compile(r"\b(MIT|BSD|Apache|Python Software Foundation|PSF|ISC)\b", re.IGNORECASE)
"""Licences that ask for no more than a notice."""


def licence(distribution: Distribution) -> str:
    """Return the statements of a distribution about its licence, the most exact first."""
    metadata = distribution.metadata
    classifiers = [
        classifier.rpartition(" :: ")[2]
        for classifier in metadata.get_all("Classifier") or []
        if classifier.startswith("License :: ") and classifier.count("::") > 1
    ]
    stated = (metadata.get("License") or "").strip().partition("\n")[0]
    told = metadata.get("License-Expression") or "; ".join(classifiers) or stated
    return told or _title(distribution) or "unknown"


def _title(distribution: Distribution) -> str:
    """Return the first line of the licence's text, for a distribution that states none."""
    for name in distribution.metadata.get_all("License-File") or []:
        text = distribution.read_text(f"licenses/{name}") or distribution.read_text(name) or ""
        if text.strip():
            return text.strip().partition("\n")[0]
    return ""


def list_licences(found: Iterable[Distribution]) -> int:
    """Print a line for each distribution; tell whether one of them is not permitted."""
    code = 0
    for distribution in sorted(found, key=lambda each: each.name.lower()):
        stated = licence(distribution)
        note = ""
        if not all(map(PERMITTED.search, re.split(r" AND |; ", stated))):
            note, code = "  <- not permitted", FOUND
        print(f"{distribution.name:20} {distribution.version:12} {stated}{note}")
    return code


def judge(report: Mapping[str, Any] | None, trouble: str) -> int:
    """Print what pip-audit found, or that it could not look."""
    if report is None:
        print(f"NOT AUDITED: pip-audit did not get through to the advisories: {trouble}")
        return UNKNOWN
    dependencies = [one for one in report["dependencies"] if one["name"] != "promweb"]
    vulnerable = [one for one in dependencies if one.get("vulns")]
    skipped = [one["name"] for one in dependencies if "skip_reason" in one]
    for one in vulnerable:
        print(f"{one['name']} {one['version']}: {', '.join(each['id'] for each in one['vulns'])}")
    if skipped:
        print(f"NOT AUDITED: the advisories do not know {', '.join(skipped)}")
    audited = len(dependencies) - len(skipped)
    print(f"{audited} of {len(dependencies)} audited, {len(vulnerable)} with known vulnerabilities")
    if vulnerable:
        return FOUND
    return UNKNOWN if skipped or not dependencies else 0


def audit(folder: str) -> int:
    """Run pip-audit on a folder."""
    command = [sys.executable, "-m", "pip_audit", "--path", folder]
    command += ["--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = None
    return judge(report, (done.stderr.strip().splitlines() or ["no reason given"])[-1])


def main(folder: str, *options: str) -> int:
    code = list_licences(distributions(path=[folder]))
    return code if "--licences" in options else max(code, audit(folder))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
