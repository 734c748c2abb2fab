"""Words of ``nijimi models`` enter; what is known of the painter's files is printed, or mended."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from .errors import BadInput, NijimiError
from .models.catalog import default_models_dir
from .models.headers import WeightsHeader, file_sha256, read_header
from .models.library import Library, open_library
from .models.recognise import FileKind, recognise
from .terminal import progress_bar

__all__ = ["add_arguments", "describe", "trigger_words"]

_SHOWN_WORDS = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Each command sets ``run``."""
    commands = parser.add_subparsers(dest="models_command", required=True)
    everything = _command(commands, "list", "what is there, and what cannot be used", _list)
    everything.add_argument("--kind", choices=[kind.value for kind in FileKind], default=None)
    info = _command(commands, "info", "kind, family, hash, licence and trigger words", _info)
    info.add_argument("name", help="a name as in the list, or a path")
    verify = _command(commands, "verify", "read every number of a file, or of all", _verify)
    verify.add_argument("names", nargs="*", help="names or paths; none: all")
    fetch = _command(commands, "fetch", "download a model of the list; no name: show it", _fetch)
    fetch.add_argument("name", nargs="?", default="")
    convert = commands.add_parser(
        "convert", help="make .safetensors of a pickle (.ckpt, .pt, .bin, .pth) without running it"
    )
    convert.add_argument("file", type=Path)
    convert.add_argument("-o", "--output", type=Path, default=None)
    convert.set_defaults(run=_convert)
    merge = commands.add_parser(
        "merge", help="two checkpoints: weighted sum; three: the first plus a difference"
    )
    merge.add_argument("files", type=Path, nargs="+", metavar="FILE")
    merge.add_argument("--alpha", type=float, default=0.5)
    merge.add_argument(
        "--blocks", default="", metavar="A,A,…", help="26 weights: BASE, IN00-11, M00, OUT00-11"
    )
    merge.add_argument("--type", choices=("fp16", "bf16", "fp32"), default="fp16")
    merge.add_argument("-o", "--output", type=Path, required=True)
    merge.set_defaults(run=_merge)


def _command(commands: Any, name: str, help: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help)
    parser.add_argument("--models-dir", type=Path, default=None)
    parser.add_argument("--models-from", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


def _list(args: argparse.Namespace) -> int:
    library = open_library(args.models_dir, args.models_from)
    rows: list[dict[str, Any]] = [
        {"name": model.name, "kind": "checkpoint", "family": model.family, "form": "",
         "bytes": model.size_bytes, "path": str(model.path), "trouble": ""}
        for model in library.models() if not model.is_file
    ]  # fmt: skip
    rows += [
        {"name": file.name, "kind": file.found.kind.value, "family": file.found.family,
         "form": file.found.form, "bytes": file.size_bytes, "path": str(file.path),
         "trouble": file.trouble}
        for file in library.files()
    ]  # fmt: skip
    rows = [row for row in rows if args.kind in (None, row["kind"])]
    if args.json:
        print(json.dumps(rows, indent=2))  # noqa: T201
        return 0
    for row in rows:
        family = " ".join(filter(None, (row["family"], row["form"])))
        print(f"{row['kind']:13} {family:12} {row['bytes'] / 1e6:9.1f} MB  {row['name']}")  # noqa: T201
        if row["trouble"]:
            print(f"    BAD: {row['trouble']}")  # noqa: T201
    sys.stderr.write(f"{len(rows)} in {', '.join(map(str, library.roots))}\n")
    return 0


def _info(args: argparse.Namespace) -> int:
    path = _path_of(args.name, open_library(args.models_dir, args.models_from))
    facts = describe(read_header(path))
    with progress_bar("reading", in_bytes=True) as note:
        size = path.stat().st_size
        facts["sha256"] = file_sha256(path, lambda done: note(done, size))
    if args.json:
        print(json.dumps(facts, indent=2))  # noqa: T201
        return 0
    for key, value in facts.items():
        if value:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            print(f"{key:14} {shown}")  # noqa: T201
    return 0


def _verify(args: argparse.Namespace) -> int:
    from .models.weight_files import read_weights

    library = open_library(args.models_dir, args.models_from)
    paths = [_path_of(name, library) for name in args.names]
    paths = paths or [file.path for file in library.files()]
    rows: list[dict[str, str]] = []
    for path in paths:
        try:
            header = read_header(path)
            for key in header.shapes:
                # One by one: a whole checkpoint need not fit into memory to be looked at.
                read_weights(header, {key: key})
            rows.append({"path": str(path), "trouble": ""})
        except NijimiError as error:
            rows.append({"path": str(path), "trouble": str(error)})
        if not args.json:
            row = rows[-1]
            print(f"{'BAD' if row['trouble'] else 'ok '}  {path}")  # noqa: T201
            if row["trouble"]:
                print(f"     {row['trouble']}")  # noqa: T201
    if args.json:
        print(json.dumps(rows, indent=2))  # noqa: T201
    return 1 if any(row["trouble"] for row in rows) else 0


def _fetch(args: argparse.Namespace) -> int:
    from .models.downloads import fetch, known_downloads
    from .models.package_files import fetch_package_files, files_dir, known_packages

    known, packages = known_downloads(), known_packages()
    if not args.name:
        if args.json:
            print(json.dumps([vars(each) for each in known], indent=2))  # noqa: T201
            return 0
        for each in known:
            size = f"{each.bytes / 1e9:.1f} GB" if each.bytes else ""
            print(f"{each.name:28} {each.family:5} {size:8} {each.title}; {each.licence}")  # noqa: T201
        for package in packages:
            print(f"{package.name:42} {package.title}; {package.licence}")  # noqa: T201
        return 0
    for package in packages:
        if package.name == args.name:
            sys.stderr.write(f"{package.title}, licence {package.licence}, from {package.page}\n")
            print(fetch_package_files(package, files_dir(package.name)))  # noqa: T201
            return 0
    wanted = next((each for each in known if each.name == args.name), None)
    if wanted is None:
        names = ", ".join(each.name for each in (*known, *packages))
        raise BadInput(f"No model named {args.name!r} is known.", f"Choose one of: {names}.")
    sys.stderr.write(f"{wanted.title}, licence {wanted.licence}, from {wanted.page}\n")
    if not wanted.sha256:
        sys.stderr.write("warning: its hash was never published, so it cannot be checked\n")
    with progress_bar("fetching", in_bytes=True) as note:
        path = fetch(wanted, args.models_dir or default_models_dir(), note)
    print(path)  # noqa: T201
    return 0


def _convert(args: argparse.Namespace) -> int:
    from .models.convert import convert_pickle

    source: Path = args.file
    target: Path = args.output or source.with_suffix(".safetensors")
    count = convert_pickle(source, target)
    found = recognise(read_header(target))
    what = " ".join(filter(None, (found.family, found.kind.value)))
    print(f"{target}: {count} tensors, {what}")  # noqa: T201
    return 0


def _merge(args: argparse.Namespace) -> int:
    from .models.merge import merge_checkpoints

    if len(args.files) not in (2, 3):
        raise BadInput(f"There are {len(args.files)} files.", "Name two or three checkpoints.")
    try:
        blocks = [float(text) for text in args.blocks.split(",")] if args.blocks else []
    except ValueError:
        raise BadInput(f"{args.blocks!r} are no weights.", "Write them like 0.5,0,0.25,…") from None
    if not all(math.isfinite(value) and abs(value) <= 10 for value in (args.alpha, *blocks)):
        raise BadInput("A weight is out of range.", "Choose weights from -10 to 10.")
    with progress_bar("merging") as note:
        merge_checkpoints(
            args.files, args.output, args.alpha, blocks=blocks, number_type=args.type,
            progress=note,
        )  # fmt: skip
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB")  # noqa: T201
    return 0


def describe(header: WeightsHeader) -> dict[str, Any]:
    """What a header says: of itself, and what its maker wrote into it."""
    found = recognise(header)
    said = header.metadata
    return {
        "name": header.path.stem,
        "path": str(header.path),
        "kind": found.kind.value,
        "family": found.family,
        "form": found.form,
        "bytes": header.size_bytes,
        "tensors": len(header.shapes),
        "number types": sorted(Counter(header.dtypes.values())),
        "title": said.get("modelspec.title", ""),
        "author": said.get("modelspec.author", ""),
        "licence": said.get("modelspec.license", "") or said.get("license", ""),
        "made from": said.get("ss_sd_model_name", "") or said.get("modelspec.merged_from", ""),
        "trigger words": trigger_words(said),
    }


def trigger_words(metadata: Mapping[str, str]) -> list[str]:
    """What a LoRA answers to: said by its maker, else the most frequent tags of its training."""
    if phrase := metadata.get("modelspec.trigger_phrase"):
        return [word.strip() for word in phrase.split(",") if word.strip()]
    try:
        value: object = json.loads(metadata.get("ss_tag_frequency", "{}"))
    except ValueError:
        return []
    counts: Counter[str] = Counter()
    folders = cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
    for tags in folders.values():
        if isinstance(tags, dict):
            for tag, count in cast("dict[str, object]", tags).items():
                counts[tag.strip()] += count if isinstance(count, int) else 0
    return [tag for tag, _ in counts.most_common(_SHOWN_WORDS) if tag]


def _path_of(name: str, library: Library) -> Path:
    if Path(name).is_file():
        return Path(name)
    file = library.find(list(FileKind), name)
    if file is None:
        raise BadInput(
            f"There is no file named {name!r}.", "See nijimi models list, or give a path."
        )
    return file.path
