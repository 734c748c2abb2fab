"""Files that are whole or as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from nijimi.model.whole_file import write_whole


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    write_whole(path, "あ")
    assert path.read_text(encoding="utf-8") == "あ"
    assert [each.name for each in path.parent.iterdir()] == ["a.json"]


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "before")
    (tmp_path / "a.json.part").mkdir()
    with pytest.raises(OSError, match=r"a\.json\.part"):
        write_whole(path, "after")
    assert path.read_text(encoding="utf-8") == "before"
