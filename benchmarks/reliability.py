"""Results of the long runs enter, and the tests of faults and attacks run; a page of both leaves.

Each row names what was tried and the command that tries it again. A row whose test was skipped says
so; one whose test failed makes the page say it failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["ATTACKS", "FAULTS", "reliability_page", "run_again", "run_rows"]

ROOT = Path(__file__).resolve().parent.parent


class Row(NamedTuple):
    """What is tried, what must come of it, and the test."""

    what: str
    outcome: str
    test: str


FAULTS = (
    Row("backend killed", "ready again within 5 s, the whole state sent anew",
        "tests/plugin/test_link.py::test_a_frame_is_back_within_five_seconds_of_a_kill"),
    Row("backend killed while Krita paints", "the next frame shows everything",
        "tests/krita/test_live.py::test_a_killed_backend_comes_back_with_the_whole_state"),
    Row("backend hangs (stopped)", "ended and started again within 5 s",
        "tests/plugin/test_link.py::test_a_backend_that_hangs_is_replaced"),
    Row("backend ends again and again", "given up with a sentence, although frames came",
        "tests/plugin/test_link.py::"
        "test_a_backend_that_ends_again_and_again_is_given_up_although_frames_came"),
    Row("backend cannot start", "given up with the backend's own words",
        "tests/plugin/test_link.py::"
        "test_a_backend_that_only_dies_is_given_up_with_its_own_words"),
    Row("socket half open after a sleep", "asked, then replaced; our own absence does not count",
        "tests/plugin/test_link.py::test_our_own_absence_is_not_held_against_the_backend"),
    Row("another version after an update", "said at once, not tried again",
        "tests/plugin/test_link.py::"
        "test_a_backend_of_another_version_is_said_at_once_and_not_tried_again"),
    Row("out of memory", "a sentence, the next picture comes",
        "tests/flow/test_faults.py::test_a_fault_is_a_sentence_and_the_next_picture_comes"),
    Row("CUDA error", "a sentence, a new process",
        "tests/flow/test_faults.py::"
        "test_a_lost_device_is_told_and_ends_the_process_for_a_new_one"),
    Row("crash in C", "the stacks in a file of this machine",
        "tests/flow/test_faults.py::test_a_crash_in_c_leaves_a_note_on_this_machine_only"),
    Row("disk full: log", "nobody is disturbed",
        "tests/protocol/test_logbook.py::test_a_disk_that_fills_up_disturbs_nobody"),
    Row("disk full: download", "told before it is full",
        "tests/backend/test_downloads.py::test_a_full_disk_is_told_before_it_is_full"),
    Row("disk full: set-up", "a sentence",
        "tests/installer/test_installer.py::test_a_full_disk_is_told_in_a_sentence"),
    Row("model file overwritten while loaded", "the same picture, no crash",
        "tests/backend/test_engine.py::"
        "test_a_file_that_is_overwritten_while_its_model_is_loaded_harms_nobody"),
    Row("model file shrinks while it is read", "named, refused",
        "tests/backend/test_library.py::test_a_file_that_shrinks_while_it_is_read_is_told"),
    Row("port taken", "a sentence",
        "tests/flow/test_faults.py::test_a_port_that_is_taken_is_a_sentence"),
    Row("clock jumps", "no decision asks the wall clock",
        "tests/flow/test_faults.py::test_no_decision_hangs_on_the_wall_clock"),
    Row("Krita killed (-9)", "the backend ends",
        "tests/krita/test_life_cycle.py::test_the_backend_ends_when_krita_is_killed"),
    Row("parent killed, backend idle or stopped itself", "no orphan",
        "tests/flow/test_faults.py::test_the_backend_dies_with_a_parent_that_was_killed"),
    Row("parent killed on macOS, on Windows", "the system's own word is waited for (stand-ins)",
        "tests/backend/test_leash.py"),
    Row("document closed under the pen", "noticed at once",
        "tests/krita/test_live.py::test_a_document_closed_under_the_pen_is_noticed"),
    Row("backend stands still for minutes", "ends itself",
        "tests/flow/test_faults.py::test_a_process_that_stands_still_ends_itself"),
    Row("fault in the middle of Apply", "the document as it was",
        "tests/krita/test_document_safety.py::"
        "test_a_fault_in_the_middle_of_apply_leaves_the_document_as_it_was"),
    Row("fault while the preview layer is written", "no preview layer",
        "tests/krita/test_document_safety.py::"
        "test_a_fault_while_the_preview_is_written_leaves_no_preview"),
    Row("fault while people are added", "they are taken back",
        "tests/krita/test_document_safety.py::"
        "test_a_fault_while_people_are_added_takes_them_back"),
    Row("preview layer left by a crash", "removed when the document is seen",
        "tests/krita/test_document_safety.py::"
        "test_a_preview_that_a_crash_left_goes_although_live_is_off"),
    Row("document closed while a frame runs", "nothing happens to any other",
        "tests/krita/test_live.py::test_closing_a_document_mid_frame_harms_nothing"),
    Row("canvas too large for the memory that is left", "refused, the others go on",
        "tests/flow/test_faults.py::"
        "test_a_huge_canvas_after_another_is_refused_while_the_small_one_goes_on"),
    Row("files kept by older and newer versions", "read; left alone with a sentence",
        "tests/plugin/test_kept_files.py"),
)  # fmt: skip

ATTACKS = (
    Row("a web page or a foreign Host connects", "403",
        "tests/flow/test_live.py::test_a_web_page_and_a_foreign_host_are_refused"),
    Row("a wrong token", "told, closed",
        "tests/flow/test_live.py::test_a_wrong_token_is_told_and_the_connection_ends"),
    Row("another machine without TLS", "nothing is heard",
        "tests/flow/test_remote.py::test_without_tls_nothing_is_heard"),
    Row("another machine with TLS, without the token", "refused",
        "tests/flow/test_remote.py::test_without_the_token_nobody_is"),
    Row("a name of the backend that was not allowed (DNS rebinding)", "403",
        "tests/flow/test_remote.py::test_a_name_that_was_not_allowed_is_refused"),
    Row("serving others without certificate, token or name", "refused to start",
        "tests/flow/test_remote.py::test_serving_others_needs_everything"),
    Row("a token file that others may read", "refused",
        "tests/flow/test_remote.py::test_a_token_that_is_none_is_refused"),
    Row("a backend elsewhere that cannot prove itself (Qt 6)", "hears no token",
        "tests/plugin/test_link_tls.py::test_all_of_this_with_qt_6"),
    Row("the same in real Krita", "said",
        "tests/krita/test_remote.py::test_one_that_cannot_prove_itself_is_said"),
    Row("nonsense on the socket", "ends that connection only",
        "tests/flow/test_live.py::test_nonsense_ends_only_its_own_connection"),
    Row("a message full of bombs", "refused before anything is unpacked",
        "tests/protocol/test_pixels.py::"
        "test_a_message_full_of_whole_planes_is_refused_before_anything_is_unpacked"),
    Row("a picture bomb in a document of a stranger", "passed over for the size it claims",
        "tests/plugin/test_results.py::test_a_file_of_a_stranger_cannot_fill_the_memory"),
    Row("batches without end", "the seventeenth is refused",
        "tests/backend/test_batches.py::test_more_batches_than_agreed_are_refused"),
    Row("pictures of batches that lie about their size", "the session ends before they are held",
        "tests/protocol/test_session_batches.py::"
        "test_a_picture_of_a_batch_that_cannot_be_is_refused"),
    Row("more clients than are taken", "503, the others go on",
        "tests/flow/test_faults.py::test_more_clients_than_are_taken_are_turned_away"),
    Row("a model's name that leads elsewhere", "no such model",
        "tests/backend/test_attacks.py::"
        "test_a_model_s_name_leads_nowhere_but_to_the_folder"),
    Row("a wildcard outside its folder", "not read",
        "tests/backend/test_prompt_room.py::"
        "test_a_wildcard_outside_its_folder_is_not_read"),
    Row("a pickle that would run code", "not run, refused",
        "tests/backend/test_models_command.py::"
        "test_a_pickle_that_would_run_code_is_refused"),
    Row("a zip bomb as a model", "refused before it is unpacked",
        "tests/backend/test_models_command.py::"
        "test_a_zip_bomb_is_refused_before_it_is_unpacked"),
    Row("a model file that lies about its size", "named, refused",
        "tests/backend/test_library.py::test_bad_files_are_named_and_nothing_of_them_runs"),
    Row("a picture whose text unpacks to gigabytes", "refused",
        "tests/backend/test_attacks.py::"
        "test_a_picture_that_unpacks_its_text_to_gigabytes_is_refused"),
    Row("a picture that claims to be huge", "refused before it is unpacked",
        "tests/backend/test_attacks.py::"
        "test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_unpacked"),
    Row("a download that is another file", "thrown away",
        "tests/backend/test_downloads.py::test_another_hash_is_thrown_away"),
    Row("a redirect away from https", "not followed",
        "tests/backend/test_downloads.py::test_no_redirect_leads_away_from_https"),
    Row("a plugin archive with foreign files", "refused",
        "tests/installer/test_installer.py::test_an_archive_with_foreign_files_is_refused"),
    Row("prompts and tokens in logs", "not there unless asked for",
        "tests/flow/test_faults.py::test_what_the_painter_writes_is_in_no_log"),
)  # fmt: skip


def run_rows(rows: Sequence[Row]) -> dict[str, str]:
    """Every row's test, in one run of pytest: passed, FAILED or skipped, by the row's test."""
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "report.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             f"--junitxml={report}", *[row.test for row in rows]],
            cwd=ROOT, check=False, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - pytest's own
    return {row.test: _verdict(row, cases) for row in rows}


def run_again(rows: Sequence[Row], page: str) -> dict[str, str]:
    """The verdicts of an earlier page; rows that did not hold there are tried a second time, and
    say so."""
    verdicts: dict[str, str] = {}
    for row in rows:
        cell = f" | `{row.test.replace('tests/', '', 1)}` |"
        line = next((line for line in page.splitlines() if line.endswith(cell)), "")
        verdicts[row.test] = line.removesuffix(cell).rpartition("| ")[2] or "FAILED"
    again = [row for row in rows if not verdicts[row.test].startswith(("held", "skipped"))]
    if again:
        for test, verdict in run_rows(again).items():
            verdicts[test] = "held, at a second try" if verdict == "held" else verdict
    return verdicts


def _verdict(row: Row, cases: list[ElementTree.Element]) -> str:
    """A test may have several cases, one a parameter: all count."""
    file, _, name = row.test.partition("::")
    module = file.removesuffix(".py").replace("/", ".")
    ours = [
        case
        for case in cases
        if case.get("classname") == module and name in ("", str(case.get("name")).split("[")[0])
    ]
    if not ours or any(
        case.find(kind) is not None for case in ours for kind in ("failure", "error")
    ):
        return "FAILED"
    return "skipped" if all(case.find("skipped") is not None for case in ours) else "held"


def reliability_page(results: Path, verdicts: dict[str, str]) -> str:
    """Markdown. ``results``: a folder with the JSON of the long runs."""
    held = sum(1 for row in FAULTS if verdicts[row.test].startswith("held"))
    kept = sum(1 for row in ATTACKS if verdicts[row.test].startswith("held"))
    lines = [
        "# Reliability", "",
        "Made by `python -m benchmarks reliability --results DIR --markdown docs/reliability.md`;",
        "DIR holds the JSON of the long runs, each made by the command in its row.", "",
        "| what | result | command |", "|---|---|---|",
        *_documents(results), *_fuzz(results), *_load(results),
        f"| faults tried, survived | {len(FAULTS)}, {held} | the tests below |",
        f"| attacks tried, held | {len(ATTACKS)}, {kept} | the tests below |", "",
        *_memory_formula(),
        "## Faults", "", *_table(FAULTS, verdicts), "",
        "## Attacks", "", *_table(ATTACKS, verdicts), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _table(rows: Sequence[Row], verdicts: dict[str, str]) -> list[str]:
    lines = [
        "| tried | what must come of it | | test (`python -m pytest …`) |",
        "|---|---|---|---|",
    ]
    for row in rows:
        test = row.test.replace("tests/", "", 1)
        lines.append(f"| {row.what} | {row.outcome} | {verdicts[row.test]} | `{test}` |")
    return lines


def _read(results: Path, pattern: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted(results.glob(pattern)):
        found += json.loads(path.read_text(encoding="utf-8"))
    return found


def _documents(results: Path) -> list[str]:
    seeds = _read(results, "documents*.json")
    if not seeds:
        return []
    good = [one for one in seeds if not one["failure"]]
    operations = sum(one["operations"] for one in good)
    applied = sum(one["applied"] for one in good)
    generated = sum(one.get("generated", 0) for one in good)
    layered = sum(1 for one in good if one["preview_layer"])
    return [
        f"| documents beside a Krita without Nijimi: seeds, equal after every operation | "
        f"{len(seeds)}, {len(good)} ({operations:,} operations, {applied:,} pictures applied, "
        f"{generated:,} generated; "
        f"{layered} seeds with the preview as a layer, without undo) | "
        "`python -m benchmarks documents` |"
    ]


def _fuzz(results: Path) -> list[str]:
    targets = _read(results, "fuzz*.json")
    if not targets:
        return []
    inputs: dict[str, int] = {}
    for one in targets:
        inputs[one["target"]] = inputs.get(one["target"], 0) + one["inputs"]
    names = ", ".join(f"{target} {count:,}" for target, count in inputs.items())
    failed = sum(1 for one in targets if one["failure"])
    return [
        f"| protocol inputs fuzzed, failures | {sum(one['inputs'] for one in targets):,}, {failed} "
        f"({names}) | `python -m benchmarks fuzz` |"
    ]


def _load(results: Path) -> list[str]:
    lines: list[str] = []
    for one in _read(results, "load*.json"):
        lines.append(
            f"| clients held, frames a second to those who paint, fairness | {one['clients']}, "
            f"{one['frames_a_second']}, within {100 * one['unfair']:.1f} % "
            f"({one['lost_connections']} connections lost) | "
            f"`python -m benchmarks load --clients {one['clients']}` |"
        )
    for one in _read(results, "soak*.json"):
        minutes = one["seconds"] / 60
        lines.append(
            f"| soak, hours; memory slope, MiB an hour | {minutes / 60:.2g}; {one['slope_mib_h']} "
            f"(noise {one['noise_mib_h']}; {one['rss_most_mib']} MiB at most, "
            f"{one['bound_mib']} by the formula) | "
            f"`python -m benchmarks load --minutes {minutes:.0f} --pace {one['pace_s']:g}` |"
        )
    return lines


def _memory_formula() -> list[str]:
    return [
        "What a backend may hold beside its model, by design:",
        "",
        "    planes + clients * (4 messages * 8 MiB + 2 frames * 6 MB + 64 * 4 KiB)",
        "",
        "`planes` is five times the pixels of all mirrored planes and twice those that batches",
        "keep, with one of their pictures on its way (for an enlarged one twelve bytes a pixel),",
        "at most `--memory-gib` (4 by default; what does not fit is refused with a sentence), and",
        "`clients` never more than `--max-clients` (64). The oldest work goes first: only the",
        "newest state of a client is rendered, only its newest picture waits, of progress only",
        "the newest is told.",
        "",
    ]
