"""The base and data with their truth enter; a ControlNet leaves.

``python -m training.train_control --kind pose`` or ``--kind scribble``, after Zhang et al. (arXiv
2302.05543): a copy of the UNet's encoder, joined by convolutions that begin as zeros, learns with
the base kept as it is. Hints are made by the engine's own code, so that what is trained on is what
is drawn: skeletons from exact joints, scribbles from the rendered pictures.

We depart from it in six points, each of which spares steps. With ``--guided`` half of each batch
leads the few-step model, which is taught there to say what the led base says with guidance, as in
its own distilling (``led``): were it taught the velocity, as the base is, the ControlNet would
learn to take back what distilling had sharpened. And that guess is shown to the guide: the pose
that was asked for must be found in it again (ControlNet++, Li et al., arXiv 2404.07987, which looks
at one step of the base and therefore at little noise only; a few-step model's guess is a picture at
any noise). So must a scribble's edges (``edges``). Pose trains on pictures with people only,
because the others teach it nothing but to be silent. The hint's own network does not end in zeros
too: those of the joints are silence enough, and behind two zeros neither learns at first. Timesteps
are drawn as T2I-Adapter does (arXiv 2302.08453, section 3.4: cubic), most where a picture takes its
shape. What the hint is about counts more than what lies around it, and most where limbs bend and
end: they are a small part of the picture, and what a pose is asked for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import ControlNetModel, DDPMScheduler
from nijimi_backend.engine.control.hints import make_hint
from nijimi_backend.engine.request import Control
from nijimi_backend.picture_files import PictureFile
from nijimi_protocol.geometry import Extent
from nijimi_protocol.pose import Joint, Person

from .distill_lcm import LAST, huber, told_by
from .edges import canny_edges, edge_disagreement
from .guide import SEEN_THROUGH, Known, disagreement, load_guide
from .judge import MIRRORED, read_truth
from .led import Led, few_step_base, led_target
from .networks import (
    SCHEDULER,
    fill_averaged,
    make_autoencoder,
    make_text_encoder,
    make_unet,
    with_learnable_attention,
)
from .train_base import mean_by
from .workspace import Log, arguments, device_of, load_checkpoint, mixed, resume, save_parts

__all__ = ["KINDS", "Hints", "load_base", "make_controlnet"]

KINDS = ("pose", "scribble")
SIZE = Extent(256, 256)
FIRST_STEPS = 0.4
"""Of the few-step model's rows those at the first step, which has no signal."""
LIMBS = (3, 4, 6, 7, 9, 10, 12, 13)
"""Elbows, wrists, knees and ankles of OpenPose's 18."""
LIMB_CELLS = 1.5
"""How far around each of them counts, as a deviation, in cells of the latents."""
Pixels = npt.NDArray[np.uint8]


class Hints:
    """The hint of each row of the latents: row 2n is picture n, row 2n + 1 its mirror."""

    def __init__(
        self, kind: str, folder: Path, name: str = "train", count: int | None = None
    ) -> None:
        """``count``: how many pictures are encoded, where not all of them are."""
        self.kind = kind
        self._pictures = np.load(folder / f"{name}.npy", mmap_mode="r")
        truths: list[dict[str, Any]] = json.loads((folder / f"{name}.json").read_text())[:count]
        self._people: list[list[list[list[float]]]] = [truth["people"] for truth in truths]
        self.rows = torch.tensor(
            [
                row
                for n in range(len(truths))
                for row in (2 * n, 2 * n + 1)
                if kind != "pose" or self._people[n]
            ]
        )
        """Rows that have something to teach."""

    def control(self, picture: int, *, mirrored: bool = False) -> Control:
        """What a painter would have given for this picture."""
        if self.kind == "pose":
            return Control(kind="pose", people=people_of(self._people[picture], mirrored=mirrored))
        canvas = PictureFile(values=self.picture(picture, mirrored=mirrored)).canvas
        return Control(kind=self.kind, pixels=canvas, process=True)

    def picture(self, picture: int, *, mirrored: bool = False) -> Pixels:
        """RGB, 256 x 256 x 3, as it was rendered."""
        values = np.asarray(self._pictures[picture])
        return np.ascontiguousarray(values[:, ::-1]) if mirrored else values

    def limbs(self, rows: Sequence[int], side: int) -> torch.Tensor:
        """N x side x side in [0, 1], 1 where elbows, hands, knees and feet are."""
        centres = (torch.arange(side) + 0.5) / side
        made = torch.zeros(len(rows), side, side)
        for cover, row in zip(made, rows, strict=True):
            for person in people_of(self._people[row // 2], mirrored=row % 2 == 1):
                for joint in (person.body[n] for n in LIMBS):
                    far_x = (centres - joint.x / SIZE.width)[None, :] * side / LIMB_CELLS
                    far_y = (centres - joint.y / SIZE.height)[:, None] * side / LIMB_CELLS
                    torch.maximum(cover, (-0.5 * (far_x**2 + far_y**2)).exp(), out=cover)
        return made

    def batch(self, rows: Sequence[int], px: int = SIZE.width) -> torch.Tensor:
        """N x 3 x px x px in [0, 1]."""
        side = Extent(px, px)
        made = [
            make_hint(self.control(row // 2, mirrored=row % 2 == 1), SIZE, SIZE.bounds, side)
            for row in rows
        ]
        return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float() / 255.0


def people_of(joints: list[list[list[float]]], *, mirrored: bool = False) -> tuple[Person, ...]:
    """People's joints in [0, 1] as canvas pixels; mirrored, right and left change places."""
    people: list[Person] = []
    for body in joints:
        places = [body[MIRRORED[n]] for n in range(len(body))] if mirrored else body
        people.append(
            Person(
                body=tuple(
                    Joint((1.0 - x if mirrored else x) * SIZE.width, y * SIZE.height)
                    for x, y in places
                )
            )
        )
    return tuple(people)


def load_base(folder: Path, vocab_size: int) -> tuple[Any, Any]:
    """The averaged UNet and text encoder, not to be trained."""
    base = load_checkpoint(folder / "base.pt")
    if base is None:
        raise SystemExit("Train the base model first: python -m training.train_base")
    unet, text = make_unet(), make_text_encoder(vocab_size, vocab_size - 1)
    fill_averaged(base, unet, text)
    return unet.requires_grad_(False).eval(), text.requires_grad_(False).eval()


class Wishes:
    """What a few-step model's guess should show: what the guide looks for, and edges."""

    def __init__(self, folder: Path, hints: Hints, scale: float, device: torch.device) -> None:
        self._guide, self._truth = load_guide(folder, device), read_truth(folder, "train")
        self._hints, self._scale = hints, scale
        self._decoder = make_autoencoder()
        if (saved := load_checkpoint(folder / "autoencoder.pt")) is None:
            raise SystemExit("Train the autoencoder first: python -m training.train_autoencoder")
        self._decoder.load_state_dict(saved["model"])
        self._decoder.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()

    def guided(self, guess: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """How far N x 4 x h x w latents are from subject, colour and joints: N values."""
        return disagreement(
            self._guide, guess, Known(self._truth, rows, guess.device), noise=SEEN_THROUGH
        )

    def edges(self, guess: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """How far every second one's edges are from the picture's: N / 2 values.

        Of full-size latents only; decoding all would cost a third of a step.
        """
        guess, rows = guess[::2], rows[::2]
        asked = canny_edges(
            np.stack(
                [self._hints.picture(row // 2, mirrored=row % 2 == 1) for row in rows.tolist()]
            )
        )
        with mixed(guess.device):
            images = self._decoder.decode(guess / self._scale).sample.float()
        return edge_disagreement(images, asked.to(guess.device))


def make_controlnet(unet: Any) -> Any:
    """A ControlNetModel: the encoder's copy, with a small network for the hint."""
    network: Any = ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=(16, 32, 48, 64)
    )
    network.controlnet_cond_embedding.conv_out.reset_parameters()
    return network


def late_timesteps(count: int) -> torch.Tensor:
    """N of 0 to 999, drawn by the density 3 (t / 1000)^2."""
    return (1000 * torch.rand(count).pow(1 / 3)).long().clamp(max=999)


def main() -> None:
    parser = arguments("Train a ControlNet on the base.", 30)
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--subject-weight", type=float, default=3.0, help="beside 1 elsewhere")
    parser.add_argument("--guided", type=float, default=0.05, help="the guide's weight; 0: none")
    parser.add_argument("--edges", type=float, default=0.4, help="their weight, of scribbles")
    options = parser.parse_args()
    device = device_of(options.threads)
    torch.manual_seed(options.seed)
    data = torch.load(options.work / "latents.pt", weights_only=True)
    latents, tokens = data["latents"], data["tokens"]
    unet, text = load_base(options.work, data["vocab_size"])
    network = make_controlnet(unet)
    hints = Hints(options.kind, options.work, count=len(latents) // 2)
    few, wishes, half = unet, None, 0
    if options.guided:
        few = few_step_base(options.work, unet)
        wishes = Wishes(options.work, hints, data["scale"], device)
        half = options.batch // 2
    first = round(half * FIRST_STEPS)
    for module in (unet, few, network):
        with_learnable_attention(module, device)
        module.to(device, memory_format=torch.channels_last)
    text.to(device)
    network.train().requires_grad_(True)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=options.rate, weight_decay=1e-2)
    path = options.work / f"control_{options.kind}.pt"
    parts: dict[str, Any] = {"network": network, "optimizer": optimizer}
    step = resume(path, **parts)
    scheduler: Any = DDPMScheduler(**SCHEDULER)
    signal = scheduler.alphas_cumprod.to(device)
    log = Log(options.work, f"control_{options.kind}", options.minutes)
    saved_at = time.monotonic()
    with torch.no_grad():
        nothing = text(data["empty"].long().to(device)).last_hidden_state
    few_error, unlike, edges = torch.zeros(1), torch.zeros(1), torch.zeros(1)
    while not log.is_over:
        rows = hints.rows[torch.randint(len(hints.rows), (options.batch,))]
        clean = latents[rows].to(device).float() * data["scale"]
        words = tokens[rows // 2, torch.randint(tokens.shape[1], (options.batch,))].long()
        hint = hints.batch(rows.tolist(), 8 * latents.shape[-1]).to(device)
        noise = torch.randn_like(clean)
        timesteps = late_timesteps(options.batch).to(device)
        timesteps[:first] = LAST
        noisy = scheduler.add_noise(clean, noise, timesteps)
        cover = data["masks"][rows].to(device).float() / 255
        heavy = cover
        if options.kind == "pose":
            heavy = cover + hints.limbs(rows.tolist(), cover.shape[-1]).to(device)
        with mixed(device), torch.no_grad():
            embeds = text(words.to(device)).last_hidden_state
        # Rows up to half are the few-step model's, the others the base's.
        part = slice(half, None)
        with mixed(device):
            predicted = Led(unet, network, hint[part])(
                noisy[part], timesteps[part], encoder_hidden_states=embeds[part]
            ).sample.float()
        target = scheduler.get_velocity(clean[part], noise[part], timesteps[part])
        error = (predicted - target).square().mean(1)  # N x h x w
        loss = mean_by(error, heavy[part], options.subject_weight)
        if wishes is not None:
            part = slice(0, half)
            at = (noisy[part], timesteps[part])
            with mixed(device):
                wanted = led_target(
                    unet, few, network, hint[part], *at, embeds[part], nothing, signal, first
                )
                v = Led(few, network, hint[part])(
                    *at, encoder_hidden_states=embeds[part]
                ).sample.float()
            guess, _ = told_by(v, *at, signal)
            few_error = huber(guess - wanted).mean(1)  # N x h x w
            loss = loss + mean_by(few_error, heavy[part], options.subject_weight)
            unlike = wishes.guided(guess, rows[part])
            loss = loss + options.guided * unlike.mean()
            if options.kind == "scribble" and options.edges:
                edges = wishes.edges(guess, rows[part])
                loss = loss + options.edges * edges.mean()
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 100)
            group["lr"] = options.rate * warm * min(1.0, max(0.05, (1 - log.part) / 0.3))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        log.add(
            step, step * options.batch, loss=loss.item(),
            v_error=error.mean().item(),
            subject_error=mean_by(error, cover[half:], 1e6).item(),
            few_error=few_error.mean().item(),
            unlike=unlike.mean().item(), edges=edges.mean().item(),
        )  # fmt: skip
        if time.monotonic() - saved_at > 120 or log.is_over:
            saved_at = time.monotonic()
            save_parts(path, step, **parts)


if __name__ == "__main__":
    main()
