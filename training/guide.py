"""Latents with their truth enter; a guide of few-step training leaves.

``python -m training.guide``: a small network that names the subject and its colour and finds a
single person's joints in latents, at any noise up to that of a finished guess. The few-step model
and the ControlNets learn to be understood by it (reward guided distillation, arXiv 2403.11027;
ControlNet++, arXiv 2404.07987): the error of latents says nothing about which traits of a subject
matter. It is not the judge: another network, other input, other weights, and the judge never sees
it. It has learnt from the same pictures, though: what pleases it may please the judge and not the
eye, so look at what comes of it.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .judge import CLASSES, COLOURS, MIRRORED, PEOPLE_SHARE, Truth, moved, pck, read_truth
from .networks import LATENT_CHANNELS
from .scenes.people import JOINTS
from .train_base import draw_rows
from .workspace import Log, arguments, device_of, load_checkpoint, mixed, resume, save_parts

__all__ = ["SEEN_THROUGH", "Guide", "Known", "disagreement", "load_guide"]

MAX_NOISE = 0.6
"""Beside latents of a deviation of 1: what a guess has in small faults is not to be believed."""
SEEN_THROUGH = 0.3
"""The noise that few-step guesses are shown to it with."""
JOINT_WEIGHT = 20.0
MOVED_CELLS = 5


class Guide(nn.Module):
    """Latents N x 4 x 32 x 32 become subject N x K, colour N x C and joints N x 18 x 2."""

    def __init__(self) -> None:
        super().__init__()
        widths = (LATENT_CHANNELS, 64, 96, 128)
        levels: list[nn.Module] = []
        for n, (before, after) in enumerate(itertools.pairwise(widths)):
            levels.append(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, stride=1 if n == 0 else 2, padding=1),
                    nn.GroupNorm(8, after),
                    nn.SiLU(),
                    nn.Conv2d(after, after, 3, padding=1),
                    nn.GroupNorm(8, after),
                    nn.SiLU(),
                )
            )
        self.fine, self.middle, self.coarse = levels  # 32, 16 and 8 cells a side
        self.drop = nn.Dropout(0.3)
        self.subject = nn.Linear(widths[-1], len(CLASSES))
        self.colour = nn.Linear(widths[-1], len(COLOURS))
        self.heat = nn.Sequential(
            nn.Conv2d(sum(widths[1:]), 64, 1),
            nn.GroupNorm(8, 64),
            nn.SiLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(64, JOINTS, 1),
        )

    def forward(self, latents: torch.Tensor) -> dict[str, torch.Tensor]:
        """The joints in [0, 1], from left and top."""
        fine = self.fine(latents)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        features = self.drop(0.5 * (coarse.mean((2, 3)) + coarse.amax((2, 3))))
        wide = [
            functional.interpolate(each, size=fine.shape[-2:], mode="bilinear")
            for each in (middle, coarse)
        ]
        heat = self.heat(torch.cat([fine, *wide], 1))  # N x 18 x 32 x 32
        weight = heat.flatten(2).softmax(-1).view_as(heat)
        centres = (torch.arange(heat.shape[-1], device=heat.device) + 0.5) / heat.shape[-1]
        x = (weight.sum(2) * centres).sum(-1)
        y = (weight.sum(3) * centres).sum(-1)
        return {
            "subject": self.subject(features),
            "colour": self.colour(features),
            "joints": torch.stack([x, y], -1),
        }


class Known:
    """What is true of rows of the latents: subject and colour (-1: nothing known), joints.

    Row 2n is picture n, row 2n + 1 its mirror.
    """

    def __init__(self, truth: Truth, rows: torch.Tensor, device: torch.device) -> None:
        pictures, mirrored = rows // 2, rows % 2 == 1
        self.subject = truth.subject[pictures].to(device)
        self.colour = truth.colour[pictures].to(device)
        self.has_joints = truth.has_joints[pictures].to(device)
        joints = truth.joints[pictures].clone()
        turned = joints[:, MIRRORED].clone()
        turned[..., 0] = 1.0 - turned[..., 0]
        self.joints = torch.where(mirrored[:, None, None], turned, joints).to(device)


def disagreement(
    guide: Guide, latents: torch.Tensor, known: Known, *, noise: float = 0.0, joints: bool = True
) -> torch.Tensor:
    """How far N x 4 x h x w latents are from what is known of them, each by itself: N values.

    ``noise``: at most so much is added, drawn for each, so that no fault too fine to be seen
    can please the guide.
    """
    if noise:
        each = noise * torch.rand(len(latents), 1, 1, 1, device=latents.device)
        latents = latents + each * torch.randn_like(latents)
    with mixed(latents.device):
        found = {name: value.float() for name, value in guide(latents).items()}
    total = functional.cross_entropy(
        found["subject"], known.subject, ignore_index=-1, reduction="none"
    )
    total = total + functional.cross_entropy(
        found["colour"], known.colour, ignore_index=-1, reduction="none"
    )
    if not joints:
        return total
    far = (found["joints"] - known.joints).abs().mean((1, 2))
    return total + JOINT_WEIGHT * far * known.has_joints


def load_guide(folder: Path, device: torch.device) -> Guide:
    """The trained guide; gradients go through it and not into it."""
    saved = load_checkpoint(folder / "guide.pt")
    if saved is None:
        raise SystemExit("Train the guide first: python -m training.guide")
    guide = Guide()
    guide.load_state_dict(saved["guide"])
    return guide.to(device).requires_grad_(False).eval()


def score(guide: Guide, latents: torch.Tensor, known: Known) -> dict[str, float]:
    """How often it is right."""
    guide.eval()
    with torch.inference_mode():
        found = guide(latents)
    right = {
        name: (found[name].argmax(1) == truth)[truth >= 0].float().mean().item()
        for name, truth in (("subject", known.subject), ("colour", known.colour))
    }
    people = known.has_joints
    return {**right, "joints": pck(found["joints"][people], known.joints[people]).mean().item()}


def main() -> None:
    parser = arguments("Train the guide on latents of rendered pictures.", 8)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--held-back", type=int, default=200, help="of the pictures, to be told by")
    options = parser.parse_args()
    device = device_of(options.threads)
    torch.manual_seed(options.seed)
    data = torch.load(options.work / "latents.pt", weights_only=True)
    latents, truth = data["latents"], read_truth(options.work, "train")
    count = len(latents) - 2 * options.held_back
    aside = torch.arange(count, len(latents), 2)
    shares = 1 + (PEOPLE_SHARE - 1) * truth.has_joints[: count // 2].float()
    guide: Any = Guide()
    guide.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(guide.parameters(), lr=options.rate, weight_decay=5e-2)
    path = options.work / "guide.pt"
    parts: dict[str, Any] = {"guide": guide, "optimizer": optimizer}
    step = resume(path, **parts)
    log = Log(options.work, "guide", options.minutes)
    while not log.is_over:
        guide.train()
        rows = draw_rows(shares, options.batch)
        clean = latents[rows].to(device).float() * data["scale"]
        known = Known(truth, rows, device)
        clean, known.joints = moved(clean, known.joints, MOVED_CELLS)
        loss = disagreement(guide, clean, known, noise=MAX_NOISE).mean()
        for group in optimizer.param_groups:
            group["lr"] = options.rate * max(0.02, 1.0 - log.part)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        log.add(step, step * options.batch, every=100, loss=loss.item())
        if step % 500 == 0 or log.is_over:
            seen = latents[aside].to(device).float() * data["scale"]
            right = score(guide, seen, Known(truth, aside, device))
            print("aside:", {name: round(value, 3) for name, value in right.items()}, flush=True)
            save_parts(path, step, **parts)


if __name__ == "__main__":
    main()
