"""A textual inversion's file enters; its vectors for each of a model's text encoders leave.

Textual inversion: Gal et al., arXiv 2208.01618. Files hold one matrix (SD1, SD2), or one for each
of SDXL's two encoders under ``clip_l`` and ``clip_g``.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import ModelCorrupt
from .bundle import ModelBundle
from .headers import read_header
from .weight_files import read_weights

__all__ = ["read_embedding"]


def read_embedding(path: Path, bundle: ModelBundle) -> tuple[torch.Tensor, ...]:
    """One matrix, n x width, for each text encoder, float32.

    Raises ``ModelCorrupt`` where it is damaged or for another family.
    """
    header = read_header(path)
    found = read_weights(header, {key: key for key in header.shapes}, torch.float32)
    keys = ["clip_l", "clip_g"] if "clip_g" in found else list(found)[:1]
    matrices = tuple(
        found[key][None] if found[key].dim() == 1 else found[key] for key in keys if key in found
    )
    widths = tuple(int(tower.encoder.config.hidden_size) for tower in bundle.towers)
    fits = len(matrices) == len(widths) and all(
        matrix.dim() == 2 and matrix.shape[1] == width
        for matrix, width in zip(matrices, widths, strict=True)
    )
    if not fits:
        raise ModelCorrupt(
            f"The embedding {path.stem} is not for the model {bundle.info.title}: its vectors "
            f"have {' and '.join(str(m.shape[-1]) for m in matrices) or 'no'} numbers, the model "
            f"reads {' and '.join(map(str, widths))}.",
            "Take it out of the prompt, or choose a model of its family.",
        )
    return matrices
