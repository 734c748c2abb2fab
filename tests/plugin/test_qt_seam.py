"""Both bindings: every module that is not Krita's imports with PyQt5 and with PyQt6."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).resolve().parents[2] / "krita_plugin"

CODE = """
import importlib, pkgutil, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {blocked!r}:
            raise ImportError("not in this Krita")
sys.meta_path.insert(0, Blocker())
import nijimi
names = [m.name for m in pkgutil.walk_packages(nijimi.__path__, "nijimi.")]
krita_only = (
    "capture", "document", "flattening", "frames", "kept_pictures", "layers", "masked_layer",
    "replaced_layer", "overlay", "pose_layer", "registration", "view", "watcher",
)
names = [n for n in names if not (n.startswith("nijimi.canvas.") and n.endswith(krita_only))]
for name in names:
    importlib.import_module(name)
from nijimi import qt
from nijimi.model.controls import Controls
from nijimi.model.live_state import LiveState
from nijimi.model.settings import Settings
from nijimi.ui.docker import DockerPanel
application = qt.QtWidgets.QApplication([])
controls = Controls()
panel = DockerPanel(Settings(), LiveState(), controls, lambda name: qt.QtGui.QIcon())
controls.add("pose", "{{1}}", "Pose")
panel.resize(280, 600)
assert not panel.grab().isNull()
print(qt.QT_VERSION, len(names))
"""


@pytest.mark.parametrize(("version", "blocked"), [(5, "PyQt6"), (6, "PyQt5")])
def test_the_plugin_imports_and_shows_with_either_binding(version: int, blocked: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(blocked=blocked)],
        env={**os.environ, "PYTHONPATH": str(PLUGIN), "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, count = done.stdout.split()
    assert int(found) == version
    assert int(count) >= 14
