"""An environment enters; its bill of materials and what is known against its packages leave.

The bill is CycloneDX, made by its own tool. Known weaknesses are asked of the package index by
pip-audit; where the index cannot be asked, that is said, package for package counted.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from .progress import say

__all__ = ["audit", "judge", "write_bill"]

_PATIENCE_S = 300


def write_bill(python: Path, root: Path) -> bool:
    """Write ``.nijimi/sbom.json``; whether that went well."""
    path = root / ".nijimi" / "sbom.json"
    path.parent.mkdir(exist_ok=True)
    words = ["-m", "cyclonedx_py", "environment", "--of", "JSON", "-o", str(path)]
    done = _run([str(python), *words, "--pyproject", str(root / "pyproject.toml")])
    if done.returncode:
        say(f"    the bill of materials failed: {done.stderr.strip()[-500:]}")
        return False
    count = len(json.loads(path.read_text(encoding="utf-8"))["components"])
    say(f"    {count} packages in {path.relative_to(root)}")
    return True


def audit(python: Path) -> bool:
    """Whether nothing is known against any installed package."""
    words = ["-m", "pip_audit", "--local", "--progress-spinner", "off", "--format", "json"]
    done = _run([str(python), *words])
    is_clean, sentence = judge(done.stdout, done.stderr)
    say(f"    {sentence}")
    return is_clean


def judge(answer: str, trouble: str) -> tuple[bool, str]:
    """What pip-audit's answer means. No answer is no proof of anything, and no failure of ours."""
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = trouble.strip().splitlines()
        return True, f"skipped: the audit gave no answer ({last[-1] if last else 'nothing'})"
    weak = [package for package in packages if package.get("vulns")]
    unknown = [package for package in packages if "skip_reason" in package]
    if weak:
        names = ", ".join(
            f"{package['name']} {package['version']} ({package['vulns'][0]['id']})"
            for package in weak
        )
        return False, f"known weaknesses: {names}"
    asked = len(packages) - len(unknown)
    if not asked:
        return True, f"skipped: the index could not be asked about any of {len(unknown)} packages"
    beside = f"; {len(unknown)} could not be asked about" if unknown else ""
    return True, f"nothing is known against {asked} packages{beside}"


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "it took too long")
