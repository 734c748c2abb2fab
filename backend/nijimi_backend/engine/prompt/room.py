"""A painter's prompts enter; what guides each step, and what they name and is not there, leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from nijimi_protocol.params import RenderParams

from ...errors import ModelMissing, NijimiError
from ...models.bundle import ModelBundle
from ...models.embedding_files import read_embedding
from ...models.library import Library
from ...models.recognise import FileKind
from ..cache import StageCache
from ..flow.family import FlowFamily
from .encode import Conditioning, Vectors, cut_into_chunks, encode_texts
from .syntax import AdapterUse, Written, prompt_at, read_prompt, weighted_texts

__all__ = ["PromptRoom", "Prompts"]

_MOST_WILDCARD_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The three prompts of a picture, read. ``second`` is empty where nothing is blended."""

    positive: Written
    second: Written
    negative: Written
    failures: tuple[NijimiError, ...] = ()

    @property
    def adapters(self) -> tuple[AdapterUse, ...]:
        """Those of both prompts, each once; the first one's weights count."""
        named = {use.name: use for use in (*self.second.adapters, *self.positive.adapters)}
        return tuple(named.values())


class PromptRoom:
    """Reads and encodes prompts for one model; each text is encoded once. Not thread-safe."""

    def __init__(
        self,
        bundle: ModelBundle,
        library: Library | None = None,
        family: FlowFamily | None = None,
    ) -> None:
        self._bundle = bundle
        self._library = library
        self._family = family
        self.encoded: StageCache[Conditioning] = StageCache(32)
        self._vectors: StageCache[tuple[torch.Tensor, ...]] = StageCache(32)
        self._chunks: StageCache[int] = StageCache(64)

    def read(self, params: RenderParams) -> Prompts:
        """What holds for the whole picture; wildcards of which there is no file are failures."""
        blends = params.prompt_blend > 0.0
        positive, second, negative = (
            read_prompt(text, params.seed, self._lines)
            for text in (params.prompt, params.second_prompt if blends else "",
                         params.negative_prompt)
        )  # fmt: skip
        missing = dict.fromkeys((*positive.missing, *second.missing, *negative.missing))
        failures = tuple(
            ModelMissing(
                f"There is no wildcard file {name}.txt.",
                "Put it into the folder wildcards of the models folder.",
            )
            for name in missing
        )
        return Prompts(positive=positive, second=second, negative=negative, failures=failures)

    def conditioning(
        self, prompts: Prompts, params: RenderParams, steps: Sequence[int], total: int,
        text_version: int, *, guides: bool,
    ) -> tuple[tuple[Conditioning, ...], tuple[NijimiError, ...]]:  # fmt: skip
        """One conditioning for each of ``steps`` (of ``total``), with the negative one first where
        the guidance ``guides``; and embeddings that cannot be used.

        ``text_version`` changes with the text encoders' weights.
        """
        failures: list[NijimiError] = []
        texts = [
            (
                prompt_at(prompts.positive.text, step, total),
                prompt_at(prompts.second.text, step, total) if params.prompt_blend > 0.0 else None,
                prompt_at(prompts.negative.text, step, total) if guides else None,
            )
            for step in steps
        ]
        used = {text for each in texts for text in each if text is not None}
        vectors, key = self._named_vectors(used, failures)
        chunks = max(self._count_chunks(text, vectors, key) for text in used)

        def one(text: str) -> Conditioning:
            return self.encoded.get(
                (text, params.clip_skip, text_version, chunks, key),
                lambda: self._encode(text, vectors, params.clip_skip, chunks),
            )

        made: dict[object, Conditioning] = {}
        for each in texts:
            if each in made:
                continue
            positive, second, negative = each
            result = one(positive)
            if second is not None:
                result = _blended(result, one(second), params.prompt_blend)
            if negative is not None:
                result = _stacked(one(negative), result)
            made[each] = result
        return tuple(made[each] for each in texts), tuple(failures)

    def _encode(self, text: str, vectors: Vectors, clip_skip: int, chunks: int) -> Conditioning:
        texts = weighted_texts(text)
        if self._family is not None:
            return self._family.encode(texts, vectors, clip_skip, chunks)
        return encode_texts(self._bundle, texts, vectors, clip_skip, chunks)

    def _count_chunks(self, text: str, vectors: Vectors, key: object) -> int:
        def count() -> int:
            texts = weighted_texts(text)
            if self._family is not None:
                return self._family.chunks(texts, vectors)
            own = {name: each[0] for name, each in vectors.items()}
            return len(cut_into_chunks(self._bundle.towers[0], texts, own))

        return self._chunks.get((text, key), count)

    def _named_vectors(
        self, texts: set[str], failures: list[NijimiError]
    ) -> tuple[dict[str, tuple[torch.Tensor, ...]], tuple[object, ...]]:
        """Inversions whose file's name stands in a text, and a key that changes with the files."""
        found: dict[str, tuple[torch.Tensor, ...]] = {}
        key: list[object] = []
        if self._library is None:
            return found, ()
        whole = "\n".join(texts).lower()
        for file in self._library.files():
            name = file.name.lower()
            if file.found.kind is not FileKind.EMBEDDING or name not in whole or name in found:
                continue
            path = file.path
            try:
                version = (path, path.stat().st_mtime_ns)
                found[name] = self._vectors.get(
                    version, lambda path=path: read_embedding(path, self._bundle)
                )
                key.append(version)
            except NijimiError as error:
                failures.append(error)
            except OSError as error:
                failures.append(ModelMissing(f"{path.name} is gone ({error.strerror})."))
        return found, tuple(key)

    def _lines(self, name: str) -> Sequence[str]:
        """The lines of a wildcard file in any folder named wildcards."""
        parts = [part for part in name.replace("\\", "/").split("/") if part]
        if self._library is None or not parts or any(set(part) == {"."} for part in parts):
            return ()
        for root in self._library.roots:
            path = (root / "wildcards").joinpath(*parts).with_suffix(".txt")
            try:
                with path.open("r", encoding="utf-8", errors="replace") as file:
                    return file.read(_MOST_WILDCARD_BYTES).splitlines()
            except OSError:
                continue
        return ()


def _blended(first: Conditioning, second: Conditioning, part: float) -> Conditioning:
    pooled = None
    if first.pooled is not None and second.pooled is not None:
        pooled = torch.lerp(first.pooled, second.pooled, part)
    one, other = _as_long(first.embeds, second.embeds)
    lengths = (one.shape[1],) if first.lengths else ()
    return Conditioning(embeds=torch.lerp(one, other, part), pooled=pooled, lengths=lengths)


def _stacked(negative: Conditioning, positive: Conditioning) -> Conditioning:
    pooled = None
    if negative.pooled is not None and positive.pooled is not None:
        pooled = torch.cat([negative.pooled, positive.pooled])
    return Conditioning(
        embeds=torch.cat(_as_long(negative.embeds, positive.embeds)),
        pooled=pooled,
        lengths=(*negative.lengths, *positive.lengths),
    )


def _as_long(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both 1 x T x width, T the longer's: the shorter one's last token goes on to its end."""
    longest = max(one.shape[1], other.shape[1])
    made = [
        torch.cat([each, each[:, -1:].expand(-1, longest - each.shape[1], -1)], dim=1)
        for each in (one, other)
    ]
    return made[0], made[1]
