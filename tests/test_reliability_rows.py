"""Every row of docs/reliability.md names a test that is there, and a failed one is called so."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import reliability
from benchmarks.reliability import ATTACKS, FAULTS, Row, reliability_page

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("row", [*FAULTS, *ATTACKS], ids=lambda row: row.what)
def test_a_row_names_a_test(row: Row) -> None:
    file, _, name = row.test.partition("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    assert not name or f"def {name}(" in text


@pytest.mark.parametrize(
    ("inside", "verdict"),
    [("", "held"), ("<failure/>", "FAILED"), ("<error/>", "FAILED"), ("<skipped/>", "skipped")],
)
def test_a_verdict_is_that_of_all_cases(inside: str, verdict: str) -> None:
    row = Row("a", "b", "tests/flow/test_x.py::test_y")
    xml = '<s><testcase classname="tests.flow.test_x" name="test_y[1]">{}</testcase></s>'
    cases = list(ElementTree.fromstring(xml.format(inside)).iter("testcase"))  # noqa: S314
    assert reliability._verdict(row, cases) == verdict  # pyright: ignore[reportPrivateUsage]
    assert reliability._verdict(row, []) == "FAILED", "not run"  # pyright: ignore[reportPrivateUsage]


def test_only_what_did_not_hold_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*FAULTS, *ATTACKS]
    verdicts = {row.test: "held" for row in rows}
    verdicts[FAULTS[2].test] = "FAILED"
    tried: list[str] = []

    def run(again: list[Row]) -> dict[str, str]:
        tried.extend(row.test for row in again)
        return {row.test: "held" for row in again}

    monkeypatch.setattr(reliability, "run_rows", run)
    seen = reliability.run_again(rows, reliability_page(tmp_path, verdicts))
    assert tried == [FAULTS[2].test]
    assert seen == {**verdicts, FAULTS[2].test: "held, at a second try"}
    page = reliability_page(tmp_path, seen)
    assert f"| faults tried, survived | {len(FAULTS)}, {len(FAULTS)} |" in page
    assert "| held, at a second try |" in page
    reliability.run_again(rows, "no page")
    assert tried[1:] == [row.test for row in rows], "what is not in the page was not tried"


def test_the_page_counts_what_held(tmp_path: Path) -> None:
    (tmp_path / "fuzz.json").write_text(
        json.dumps([{"target": "codec", "inputs": 1000, "failure": ""},
                    {"target": "server", "inputs": 500, "failure": "boom"}])
    )  # fmt: skip
    verdicts = {row.test: "held" for row in [*FAULTS, *ATTACKS]}
    verdicts[FAULTS[0].test] = "FAILED"
    page = reliability_page(tmp_path, verdicts)
    assert "| 1,500, 1 (codec 1,000, server 500) |" in page
    assert f"| faults tried, survived | {len(FAULTS)}, {len(FAULTS) - 1} |" in page
    assert "| FAILED |" in page
