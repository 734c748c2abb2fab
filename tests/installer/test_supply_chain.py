"""What is installed is on a list, and what is known against it is said."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import tomllib
from nijimi_installer.supply_chain import judge, write_bill

ROOT = Path(__file__).resolve().parents[2]


def _answer(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


GOOD: dict[str, Any] = {"name": "good", "version": "1", "vulns": []}
WEAK: dict[str, Any] = {"name": "weak", "version": "2", "vulns": [{"id": "PYSEC-2020-1"}]}
UNKNOWN: dict[str, Any] = {"name": "unknown", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("answer", "is_clean", "words"),
    [
        (_answer(GOOD, GOOD), True, "nothing is known against 2 packages"),
        (_answer(GOOD, UNKNOWN), True, "1 packages; 1 could not be asked about"),
        (_answer(GOOD, WEAK), False, "weak 2 (PYSEC-2020-1)"),
        (_answer(UNKNOWN, UNKNOWN), True, "skipped: the index could not be asked about any of 2"),
        ("", True, "skipped: the audit gave no answer (no network)"),
    ],
)
def test_an_answer_is_judged(answer: str, is_clean: bool, words: str) -> None:
    clean, sentence = judge(answer, "a trace\nno network\n")
    assert clean is is_clean
    assert words in sentence


@pytest.mark.timeout(300)
def test_every_dependency_is_on_the_bill(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    assert write_bill(Path(sys.executable), tmp_path)
    bill = json.loads((tmp_path / ".nijimi" / "sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    listed = {part["name"].lower().replace("_", "-") for part in bill["components"]}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for line in wanted:
        name = re.split(r"[<>=!~\[ ]", line)[0].lower()
        assert name in listed, name
