"""The machine enters; a report leaves: what is installed, what is broken, how to mend it."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from nijimi_protocol.version import PROTOCOL, VERSION

from .errors import NijimiError
from .models.catalog import ModelInfo, default_models_dir
from .models.library import open_library
from .report import make_report

__all__ = ["Finding", "add_arguments", "examine", "run"]

_PACKAGES = (
    "torch", "diffusers", "transformers", "peft", "safetensors", "numpy", "pillow", "websockets",
    "spandrel",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report. ``mend`` says what to do when it is not ``ok``."""

    what: str
    value: str
    ok: bool = True
    mend: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--models-dir", type=Path, default=None)
    parser.add_argument(
        "--report",
        action="store_true",
        help="print a report to hand on: findings, newest logs and crash, without names and paths",
    )
    parser.add_argument(
        "--render", action="store_true", help="also load each model and render one picture"
    )


def run(args: argparse.Namespace) -> int:
    """0 when everything that is needed works, else 1."""
    findings = examine(args.models_dir, render=args.render)
    if args.report:
        print(make_report(findings))  # noqa: T201
    elif args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))  # noqa: T201
    else:
        for finding in findings:
            mark = "ok " if finding.ok else "BAD"
            print(f"{mark}  {finding.what:22} {finding.value}")  # noqa: T201
            if not finding.ok:
                print(f"     -> {finding.mend}")  # noqa: T201
    return 0 if all(finding.ok for finding in findings) else 1


def examine(models_dir: Path | None = None, *, render: bool = False) -> list[Finding]:
    """Look at everything, and stop at nothing."""
    return [
        Finding(what="nijimi", value=f"{VERSION}, protocol {PROTOCOL}"),
        _python(),
        *(_package(name) for name in _PACKAGES),
        _openvino(),
        _device(),
        *_native(),
        _disk(),
        *_models(models_dir, render=render),
    ]


def _python() -> Finding:
    return Finding(
        what="python",
        value=f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        ok=sys.version_info >= (3, 11),
        mend="Install Python 3.11 or newer and run the installer again.",
    )


def _package(name: str) -> Finding:
    mend = "Run the installer again: python3 installer run"
    try:
        return Finding(what=name, value=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(what=name, value="not installed", ok=False, mend=mend)


def _openvino() -> Finding:
    """Without it all works, on a CPU more slowly."""
    found = _package("openvino")
    return found if found.ok else Finding(what="openvino", value="not installed (optional)")


def _device() -> Finding:
    try:
        from .models.device import choose_device

        return Finding(what="device", value=choose_device().title)
    except (ImportError, OSError, NijimiError) as error:
        return Finding(
            what="device",
            value=f"torch does not start: {error}",
            ok=False,
            mend="Remove the folder .venv and run the installer again.",
        )


def _native() -> list[Finding]:
    """Only where the processor has AMX, for which functions are built; without them all works."""
    try:
        from .engine.native.build import build, has_tiles
    except (ImportError, OSError):
        # Torch does not start, which was told already.
        return []
    if not has_tiles():
        return []
    try:
        build()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        value = f"not built: {reason} (optional: with gcc large models are quicker)"
        return [Finding(what="functions for AMX", value=value)]
    return [Finding(what="functions for AMX", value="built by the C compiler of this machine")]


def _disk() -> Finding:
    free = shutil.disk_usage(Path.home() if Path.home().exists() else Path.cwd()).free
    return Finding(
        what="free disk",
        value=f"{free / 1e9:.1f} GB",
        ok=free > 500e6,
        mend="Free at least 500 MB.",
    )


def _models(models_dir: Path | None, *, render: bool) -> list[Finding]:
    folder = models_dir or default_models_dir()
    state = "" if folder.is_dir() else " (not there yet: put models of your own into it)"
    found = [Finding(what="models folder", value=f"{folder}{state}")]
    models = open_library(models_dir).models()
    if not models:
        return [
            *found,
            Finding(
                what="models",
                value="none",
                ok=False,
                mend="Reinstall Nijimi: its embedded model is missing.",
            ),
        ]
    return found + [_model(model, render=render) for model in models]


def _model(model: ModelInfo, *, render: bool) -> Finding:
    what = f"model {model.name}"
    mend = "Copy or download this model again, whole."
    if missing := model.missing_files():
        return Finding(what=what, value=f"missing: {', '.join(missing)}", ok=False, mend=mend)
    from .models.headers import read_header

    files = [model.path] if model.is_file else sorted(model.path.rglob("*.safetensors"))
    try:
        for path in files:
            read_header(path)
    except NijimiError as error:
        return Finding(what=what, value=error.sentence, ok=False, mend=error.action)
    size = sum(path.stat().st_size for path in files)
    value = f"{model.family}, {model.native_px} px, {size / 1e6:.1f} MB in {len(files)} files"
    if render:
        from .engine.engine import open_engine

        try:
            engine = open_engine(str(model.path))
        except NijimiError as error:
            return Finding(what=what, value=error.sentence, ok=False, mend=error.action)
        value += f", renders on {engine.device}"
    return Finding(what=what, value=value)
