"""A prompt's weighted texts enter; the embeddings that the UNet is conditioned on leave.

Long prompts are cut into chunks of 75 tokens, each encoded by itself, and laid end to end; weights
multiply the encoded tokens, and the chunk is scaled back to the mean that it had. Both are A1111's
way ("Original" emphasis), so that prompts mean here what they mean there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ...models.bundle import ModelBundle, TextTower, special_token
from .syntax import BREAK

__all__ = ["CHUNK_TOKENS", "Conditioning", "Vectors", "cut_into_chunks", "encode_texts", "weigh"]

CHUNK_TOKENS = 75
"""Of 77, the encoder's length: the start and the end take one each."""

_COMMA_REACH = 20
"""A chunk may end at a comma that lies so many tokens back, rather than within a phrase."""

Vectors = Mapping[str, Sequence[torch.Tensor]]
"""Textual inversions by name, in small letters: one matrix (n x width) for each text encoder."""


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """``embeds``: N x T x width, T a multiple of 77. ``pooled``: N x width, or None.

    ``lengths``: the tokens of each row, for encoders that read any number of them: the rest of the
    row is not read, and T is what the longest takes; () where every row has T.
    """

    embeds: torch.Tensor
    pooled: torch.Tensor | None = None
    lengths: tuple[int, ...] = ()


@dataclass(kw_only=True)
class _Chunk:
    """At most 75 tokens; where an inversion's vector stands, the token is only a place holder."""

    tokens: list[int] = field(default_factory=list[int])
    weights: list[float] = field(default_factory=list[float])
    vectors: dict[int, torch.Tensor] = field(default_factory=dict[int, torch.Tensor])

    def cut(self, at: int) -> _Chunk:
        """What lies from ``at`` on, taken out."""
        tail = _Chunk(
            tokens=self.tokens[at:],
            weights=self.weights[at:],
            vectors={n - at: v for n, v in self.vectors.items() if n >= at},
        )
        del self.tokens[at:], self.weights[at:]
        self.vectors = {n: v for n, v in self.vectors.items() if n < at}
        return tail


def encode_texts(
    bundle: ModelBundle,
    texts: Sequence[tuple[str, float]],
    vectors: Vectors | None = None,
    clip_skip: int = 0,
    chunks: int = 1,
    towers: Sequence[TextTower] | None = None,
) -> Conditioning:
    """One prompt, 1 x T x width; at least so many ``chunks``, empty ones at the end.

    ``clip_skip`` counts layers from the end (1: the last); 0 is what the model was trained on.
    ``towers``: CLIP encoders to read with, side by side; all that the model has unless told.
    """
    parts: list[torch.Tensor] = []
    projected: list[torch.Tensor] = []
    for number, tower in enumerate(bundle.towers if towers is None else towers):
        made = {name: each[number] for name, each in (vectors or {}).items() if number < len(each)}
        cut = cut_into_chunks(tower, texts, made)
        cut += [_Chunk() for _ in range(chunks - len(cut))]
        with bundle.placement.at_work(tower.encoder):
            hidden, pooler = _run(tower, cut, clip_skip, bundle.device.torch_device)
        parts.append(hidden)
        if tower.projects:
            # The first chunk's, as the web UIs take it.
            projected.append(pooler[:1])
    pooled = torch.cat(projected, dim=-1) if projected else None
    return Conditioning(embeds=torch.cat(parts, dim=-1), pooled=pooled)


def cut_into_chunks(
    tower: TextTower,
    texts: Sequence[tuple[str, float]],
    vectors: Mapping[str, torch.Tensor] | None = None,
) -> list[_Chunk]:
    """Chunks of at most 75 tokens; never none."""
    comma = tower.tokenizer(",", add_special_tokens=False).input_ids
    done: list[_Chunk] = []
    chunk, last_comma = _Chunk(), -1

    def finish() -> None:
        nonlocal chunk, last_comma
        done.append(chunk)
        chunk, last_comma = _Chunk(), -1

    for text, weight in texts:
        if text == BREAK:
            finish()
            continue
        for tokens, matrix in _tokens(tower, text, vectors or {}):
            if matrix is not None:
                if len(chunk.tokens) + len(matrix) > CHUNK_TOKENS and chunk.tokens:
                    finish()
                for row in matrix[:CHUNK_TOKENS]:
                    chunk.vectors[len(chunk.tokens)] = row
                    chunk.tokens.append(0)
                    chunk.weights.append(weight)
                continue
            for token in tokens:
                if len(chunk.tokens) == CHUNK_TOKENS:
                    near = last_comma >= 0 and CHUNK_TOKENS - 1 - last_comma < _COMMA_REACH
                    within_phrase = near and [token] != comma
                    tail = chunk.cut(last_comma + 1) if within_phrase else _Chunk()
                    finish()
                    chunk = tail
                if [token] == comma:
                    last_comma = len(chunk.tokens)
                chunk.tokens.append(token)
                chunk.weights.append(weight)
    if chunk.tokens or not done:
        finish()
    return done


def _tokens(
    tower: TextTower, text: str, vectors: Mapping[str, torch.Tensor]
) -> list[tuple[list[int], torch.Tensor | None]]:
    """Stretches of tokens, and inversions where the text names one: `name`, `embedding:name`."""

    def plain(part: str) -> list[int]:
        # The limit is ours, chunk by chunk: the tokenizer need not warn of it.
        return list(tower.tokenizer(part, add_special_tokens=False, verbose=False).input_ids)

    if not vectors:
        return [(plain(text), None)]
    names = sorted(vectors, key=len, reverse=True)
    pattern = "|".join(re.escape(name) for name in names)
    found = re.compile(rf"(?:embedding:)?(?<![\w-])({pattern})(?![\w-])", re.IGNORECASE)
    result: list[tuple[list[int], torch.Tensor | None]] = []
    place = 0
    for match in found.finditer(text):
        result.append((plain(text[place : match.start()]), None))
        result.append(([], vectors[match.group(1).lower()]))
        place = match.end()
    result.append((plain(text[place:]), None))
    return result


def _run(
    tower: TextTower, chunks: Sequence[_Chunk], clip_skip: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """1 x (77 chunks) x width, and the pooled vector of each chunk."""
    # The tokenizer's: old text encoders' configurations name wrong ones.
    start, end = (special_token(tower.tokenizer, name) for name in ("bos", "eos"))
    rows = [
        [start, *chunk.tokens, end] + [tower.pad_token_id] * (CHUNK_TOKENS - len(chunk.tokens))
        for chunk in chunks
    ]
    weights = [
        [1.0, *chunk.weights] + [1.0] * (CHUNK_TOKENS + 1 - len(chunk.weights)) for chunk in chunks
    ]
    tokens = torch.tensor(rows, device=device)
    hidden, pooled = _encoded(tower, tokens, chunks, clip_skip)
    factors = torch.tensor(weights, device=device, dtype=torch.float32)
    hidden = weigh(hidden, factors)
    return hidden.reshape(1, -1, hidden.shape[-1]), pooled  # chunks x 77 x width, end to end


def weigh(hidden: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Tokens N x T x width times their weights N x T, each row scaled back to the mean it had."""
    if torch.all(factors == 1.0):
        return hidden
    weighed = hidden.float() * factors[..., None]
    before = hidden.float().mean(dim=(1, 2), keepdim=True)
    after = weighed.mean(dim=(1, 2), keepdim=True)
    # Weights that are all 0 leave nothing to scale back.
    scale = torch.where(after == 0.0, torch.ones_like(after), before / after)
    return (weighed * scale).to(hidden.dtype)


def _encoded(
    tower: TextTower, tokens: torch.Tensor, chunks: Sequence[_Chunk], clip_skip: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states chunks x 77 x width of the chosen layer, and the pooled vectors."""
    skip = clip_skip or tower.clip_skip
    layers = int(tower.encoder.config.num_hidden_layers)

    def put_vectors(_module: object, _inputs: object, embedded: torch.Tensor) -> torch.Tensor:
        embedded = embedded.clone()
        for n, chunk in enumerate(chunks):
            for place, vector in chunk.vectors.items():
                embedded[n, place + 1] = vector.to(embedded)
        return embedded

    words: torch.nn.Module = tower.body.embeddings.token_embedding
    hook = words.register_forward_hook(put_vectors)
    try:
        made = tower.encoder(tokens, output_hidden_states=True)
    finally:
        hook.remove()
    pooled = made.text_embeds if tower.projects else made.pooler_output
    if skip <= 1 and tower.normed:
        return made.last_hidden_state, pooled
    hidden = made.hidden_states[-min(skip, layers)]
    return (tower.body.final_layer_norm(hidden) if tower.normed else hidden), pooled
