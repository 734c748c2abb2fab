"""Rendered pictures with their truth enter; a judge of generated ones leaves.

``python -m training.judge``: a small network that names the subject, its colour and, of a single
person, the joints. It is trained on real rendered data only, never on generated pictures, and says
how right it is on real held-out data.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from .scenes.people import JOINTS
from .scenes.spec import HOUSE_COLOURS
from .scenes.subjects import HUES, SUBJECTS
from .workspace import Log, arguments, device_of, load_checkpoint, mixed, resume, save_parts

__all__ = ["CLASSES", "COLOURS", "MIRRORED", "PEOPLE_SHARE", "Judge", "Truth", "laid_on",
           "landscapes", "load_judge", "movable", "moved", "read_truth"]  # fmt: skip

CLASSES = (*SUBJECTS, "person", "house")
COLOURS = tuple(sorted({*HUES, *HOUSE_COLOURS}))
INPUT_PX = 128
MOVED_PX = 14
LAID_ELSEWHERE = 0.3
"""Of the subjects: else what stands among many trees would be taken for a house."""
PEOPLE_SHARE = 3.0
"""How often they are drawn, beside 1 of the others: joints take longest to be learnt."""
_HEAT = 16
"""Joints are found on a map of so many cells a side, then refined to the maps' centre of mass."""


class Judge(nn.Module):
    """Pictures N x 3 x 128 x 128 in [-1, 1] become logits, joints and features."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 192)
        layers: list[nn.Module] = []
        for n, (before, after) in enumerate(itertools.pairwise(widths)):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
            if n > 0:
                layers += [
                    nn.Conv2d(after, after, 3, padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(inplace=True),
                ]
        self.early = nn.Sequential(*layers[:9])  # to N x 64 x 32 x 32
        self.middle = nn.Sequential(*layers[9:15])  # to N x 128 x 16 x 16
        self.late = nn.Sequential(*layers[15:])  # to N x 192 x 8 x 8
        self.subject = nn.Linear(192, len(CLASSES))
        self.colour = nn.Linear(192, len(COLOURS))
        self.heat = nn.Conv2d(128 + 192, JOINTS, 1)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """subject N x K, colour N x C, joints N x 18 x 2 in [0, 1], features N x 192."""
        middle = self.middle(self.early(images))
        late = self.late(middle)
        features = 0.5 * (late.mean((2, 3)) + late.amax((2, 3)))
        wide = functional.interpolate(late, scale_factor=2.0, mode="bilinear")
        heat = self.heat(torch.cat([middle, wide], 1))  # N x 18 x 16 x 16
        weight = heat.flatten(2).softmax(-1).view_as(heat)
        centres = (torch.arange(_HEAT, device=images.device) + 0.5) / _HEAT
        x = (weight.sum(2) * centres).sum(-1)
        y = (weight.sum(3) * centres).sum(-1)
        return {
            "subject": self.subject(features),
            "colour": self.colour(features),
            "joints": torch.stack([x, y], -1),
            "features": features,
        }


class Truth:
    """What is true of each rendered picture, as tensors; -1 stands for nothing to judge."""

    def __init__(self, folder: Path, name: str) -> None:
        truths: list[dict[str, Any]] = json.loads((folder / f"{name}.json").read_text())
        self.captions: list[list[str]] = [truth["captions"] for truth in truths]
        self.pictures = np.load(folder / f"{name}.npy", mmap_mode="r")
        self.sketches = np.load(folder / f"{name}_sketch.npy", mmap_mode="r")
        self.masks = np.load(folder / f"{name}_mask.npy", mmap_mode="r")
        self.subject = torch.tensor(
            [CLASSES.index(t["subject"]) if t["subject"] in CLASSES else -1 for t in truths]
        )
        self.colour = torch.tensor(
            [COLOURS.index(t["colour"]) if t["colour"] in COLOURS else -1 for t in truths]
        )
        alone = [t["people"][0] if len(t["people"]) == 1 else None for t in truths]
        self.has_people = torch.tensor([bool(t["people"]) for t in truths])
        """Anybody; joints are asked for where one is alone."""
        self.has_joints = torch.tensor([joints is not None for joints in alone])
        self.joints = torch.tensor([joints or [[0.0, 0.0]] * JOINTS for joints in alone])

    def __len__(self) -> int:
        return len(self.captions)


def landscapes(truth: Truth) -> list[int]:
    """Pictures of nothing else: of people who stand there, legs would come out below a disc."""
    return [n for n in range(len(truth)) if truth.subject[n] < 0 and not truth.has_people[n]]


def movable(truth: Truth) -> list[int]:
    """Pictures of a subject that may lie anywhere; houses belong to their landscape."""
    known = {CLASSES.index(name) for name in SUBJECTS}
    return [n for n in range(len(truth)) if int(truth.subject[n]) in known]


def laid_on(truth: Truth, rows: Sequence[int], grounds: Sequence[int]) -> npt.NDArray[np.uint8]:
    """The subjects of ``rows`` on the pictures ``grounds``, N x 256 x 256 x 3, cut out softly."""
    made: list[npt.NDArray[np.uint8]] = []
    for row, ground in zip(rows, grounds, strict=True):
        mask = Image.fromarray(truth.masks[row]).resize((256, 256), Image.Resampling.BICUBIC)
        picture, below = (Image.fromarray(truth.pictures[n]) for n in (row, ground))
        made.append(np.asarray(Image.composite(picture, below, mask)))
    return np.stack(made)


def read_truth(folder: Path, name: str) -> Truth:
    """The packed data of ``build_data``."""
    return Truth(folder, name)


def as_input(pictures: np.ndarray[Any, Any]) -> torch.Tensor:
    """RGB N x 256 x 256 x 3 becomes N x 3 x 128 x 128 in [-1, 1]."""
    images = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float()
    return functional.avg_pool2d(images, 2) / 127.5 - 1.0


def load_judge(folder: Path) -> Judge:
    """The trained judge, ready to judge."""
    saved = load_checkpoint(folder / "judge.pt")
    if saved is None:
        raise SystemExit("Train the judge first: python -m training.judge")
    judge = Judge()
    judge.load_state_dict(saved["judge"])
    return judge.eval()


def score(judge: Judge, truth: Truth, device: torch.device) -> dict[str, float]:
    """How often the judge is right on real pictures, and on subjects laid on landscapes."""
    right = {"subject": 0, "elsewhere": 0, "colour": 0, "joints": 0.0}
    total = {"subject": 0, "elsewhere": 0, "colour": 0, "joints": 0}
    subjects, grounds = movable(truth), landscapes(truth)
    judge.eval()
    with torch.inference_mode():
        for start in range(0, len(truth), 64):
            rows = slice(start, min(start + 64, len(truth)))
            found = judge(as_input(truth.pictures[rows]).to(device))
            for name, known in (("subject", truth.subject[rows]), ("colour", truth.colour[rows])):
                is_known = known >= 0
                guess = found[name].argmax(1).cpu()
                right[name] += int((guess == known)[is_known].sum())
                total[name] += int(is_known.sum())
            people = truth.has_joints[rows]
            if people.any():
                hits = pck(found["joints"].cpu()[people], truth.joints[rows][people])
                right["joints"] += float(hits.sum())
                total["joints"] += int(people.sum())
            elsewhere = [n for n in subjects if rows.start <= n < rows.stop]
            if elsewhere and grounds:
                made = laid_on(truth, elsewhere, [grounds[n % len(grounds)] for n in elsewhere])
                named = judge(as_input(made).to(device))["subject"].argmax(1).cpu()
                right["elsewhere"] += int((named == truth.subject[elsewhere]).sum())
                total["elsewhere"] += len(elsewhere)
    return {name: right[name] / max(1, total[name]) for name in right}


def pck(found: torch.Tensor, asked: torch.Tensor, part: float = 0.1) -> torch.Tensor:
    """PCK@0.1 of each of N people: joints within a tenth of the person's larger side, N values."""
    size = (asked.amax(1) - asked.amin(1)).amax(1)  # N
    distance = (found - asked).norm(dim=-1)  # N x 18
    return (distance <= part * size[:, None]).float().mean(1)


def moved(
    images: torch.Tensor, joints: torch.Tensor, reach: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each of N square pictures moved by up to ``reach`` cells, its border repeated.

    Its joints (N x 18 x 2 in [0, 1]) go along. People are few among the pictures: without it they
    are learnt by heart (the guide's on pictures laid aside: 69 %).
    """
    side = images.shape[-1]
    wide = functional.pad(images, (reach,) * 4, mode="replicate")
    places = torch.randint(2 * reach + 1, (len(images), 2)).tolist()
    made = [each[:, y : y + side, x : x + side] for each, (x, y) in zip(wide, places, strict=True)]
    offsets = (reach - torch.tensor(places, device=images.device)) / side  # N x 2, x and y
    return torch.stack(made), joints + offsets[:, None]


def main() -> None:
    parser = arguments("Train the judge on real rendered data.", 12)
    parser.add_argument("--rate", type=float, default=2e-3)
    options = parser.parse_args()
    device = device_of(options.threads)
    torch.manual_seed(options.seed)
    truth, held_out = read_truth(options.work, "train"), read_truth(options.work, "held_out")
    judge: Any = Judge()
    judge.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=options.rate, weight_decay=5e-2)
    path = options.work / "judge.pt"
    parts: dict[str, Any] = {"judge": judge, "optimizer": optimizer}
    step = resume(path, **parts)
    log = Log(options.work, "judge", options.minutes)
    rng = np.random.default_rng(options.seed + step)
    shares = 1.0 + (PEOPLE_SHARE - 1.0) * truth.has_joints.numpy()
    shares /= shares.sum()
    grounds, can_move = landscapes(truth), np.zeros(len(truth), bool)
    can_move[movable(truth)] = True
    while not log.is_over:
        judge.train()
        rows = np.sort(rng.choice(len(truth), options.batch, replace=False, p=shares))
        pictures = np.array(truth.pictures[rows])
        chosen = np.flatnonzero(can_move[rows] & (rng.random(len(rows)) < LAID_ELSEWHERE))
        if len(chosen) and grounds:
            pictures[chosen] = laid_on(
                truth, rows[chosen].tolist(), rng.choice(grounds, len(chosen)).tolist()
            )
        images = as_input(pictures).to(device)
        joints = truth.joints[rows].clone()
        if rng.random() < 0.5:
            # Right and left are the person's own: mirrored, they change places.
            images = images.flip(-1)
            joints = joints[:, MIRRORED]
            joints[..., 0] = 1.0 - joints[..., 0]
        images, joints = moved(images, joints.to(device), MOVED_PX)
        with mixed(device):
            found = {name: value.float() for name, value in judge(images).items()}
        loss = functional.cross_entropy(
            found["subject"], truth.subject[rows].to(device), ignore_index=-1, label_smoothing=0.05
        )
        if (truth.colour[rows] >= 0).any():
            loss = loss + 0.5 * functional.cross_entropy(
                found["colour"], truth.colour[rows].to(device), ignore_index=-1
            )
        people = truth.has_joints[rows]
        if people.any():
            asked = joints[people.to(device)]
            loss = loss + 20 * (found["joints"][people.to(device)] - asked).abs().mean()
        for group in optimizer.param_groups:
            group["lr"] = options.rate * max(0.02, 1.0 - log.part)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        log.add(step, step * options.batch, loss=loss.item())
        if step % 500 == 0 or log.is_over:
            right = score(judge, held_out, device)
            print("held out:", {name: round(value, 3) for name, value in right.items()}, flush=True)
            save_parts(path, step, **parts)


MIRRORED = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16]
"""Each joint's partner on the other side of the body."""


if __name__ == "__main__":
    main()
