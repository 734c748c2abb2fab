"""The base model enters; an LCM-LoRA for few steps leaves: ``python -m training.distill_lcm``.

Two things are taught, into a LoRA (arXiv 2311.05556). From pure noise, where pictures from words
begin, one step must say what all four would end with: latent consistency (Luo et al., arXiv
2310.04378, definition 1) over the steps that are taken, with pseudo-Huber loss. At all other noise
the student says at once what the base says with guidance (Meng et al., arXiv 2210.03142, section
3.1), no more: four such steps paint better than a student that jumps to the end from everywhere
(``README``, try 11).

We depart from the papers in four points. Guidance is stronger where noise is: there it is decided
what the picture shows, and later it harms the layout of a sketch; who fills a selection has none,
so there it is always strong. With ``--guided`` the guide must find in the first step's guess what
was asked for (reward guided distillation, Li et al., arXiv 2403.11027). Half of the rest begins at
rough sketches, which is what live painting asks, and every second example is noised no further than
the step before and taken on by the student itself: what is noised is never its own mistake
otherwise. And of every second only a selection is noised; what surrounds it is given as it is, at
each step (``selections``).
"""

from __future__ import annotations

import time
from typing import Any

import torch
from diffusers import DDPMScheduler
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

from .guide import SEEN_THROUGH, Known, disagreement, load_guide
from .judge import read_truth
from .networks import (
    SCHEDULER,
    fill_averaged,
    make_text_encoder,
    make_unet,
    with_learnable_attention,
)
from .selections import selections
from .train_base import draw_rows, draw_words, evened
from .workspace import Log, arguments, device_of, load_checkpoint, mixed, save_checkpoint

SOLVER_STEPS = 20
LAST = 999
STRONG, GENTLE, STRONG_FROM = 3.5, 2.2, 700
"""Guidance, and the timestep from which on it is the stronger one."""
SKIP = 1000 // SOLVER_STEPS
LATER_STEPS = (749, 499, 249)
HUBER_C = 0.001
LORA_TARGETS = [
    "to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2",
    "conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv",
    "time_emb_proj",
]  # fmt: skip


def told_by(
    v: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor, signal: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The picture and the noise that ``noisy`` is made of, by its velocity, N x C x h x w each."""
    alpha = (signal[timesteps] ** 0.5).view(-1, 1, 1, 1)
    sigma = (1 - alpha**2) ** 0.5
    return alpha * noisy - sigma * v, alpha * v + sigma * noisy


def guidance_at(timesteps: torch.Tensor, fills: torch.Tensor) -> torch.Tensor:
    """How strong it is at each, N x 1 x 1 x 1; where a selection is filled (N of True and False),
    always strong: there is no sketch to be kept."""
    strong = torch.where((timesteps >= STRONG_FROM) | fills, STRONG, GENTLE)
    return strong.view(-1, 1, 1, 1)


def guided(
    teacher: Any,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    embeds: torch.Tensor,
    nothing: torch.Tensor,
    signal: torch.Tensor,
    fills: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The picture and the noise that the teacher sees with guidance, N x C x h x w each.

    ``fills``: which of them fill a selection, N of True and False.
    """
    both = torch.cat([nothing.expand_as(embeds), embeds])
    v = teacher(
        noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), encoder_hidden_states=both
    ).sample.float()
    blank, given = v.chunk(2)
    return told_by(
        blank + guidance_at(timesteps, fills) * (given - blank), noisy, timesteps, signal
    )


def finished(
    student: Any,
    seen: tuple[torch.Tensor, torch.Tensor],
    embeds: torch.Tensor,
    signal: torch.Tensor,
    known: torch.Tensor,
    learnt: torch.Tensor,
) -> torch.Tensor:
    """The picture that the student comes to by the other three of four steps, N x C x h x w.

    ``seen``: picture and noise after the first one. Where ``learnt`` (N x 1 x h x w) is 0, the
    latents stay what is ``known``.
    """
    x0, eps = seen
    for timestep in LATER_STEPS:
        alpha, sigma = signal[timestep] ** 0.5, (1 - signal[timestep]) ** 0.5
        noisy = torch.where(learnt > 0, alpha * x0 + sigma * eps, known)
        timesteps = torch.full((len(noisy),), timestep, device=noisy.device)
        v = student(noisy, timesteps, encoder_hidden_states=embeds).sample.float()
        x0, eps = told_by(v, noisy, timesteps, signal)
    return torch.where(learnt > 0, x0, known)


def huber(difference: torch.Tensor) -> torch.Tensor:
    """Pseudo-Huber loss of each (Song and Dhariwal, arXiv 2310.14189, equation 8, d = 1)."""
    return (difference.square() + HUBER_C**2).sqrt() - HUBER_C


def drawn_starts(first: int, count: int) -> torch.Tensor:
    """N timesteps: the last, which has no signal, ``first`` times, then any of the solver's."""
    starts = torch.randint(1, SOLVER_STEPS, (count,)) * SKIP - 1
    starts[:first] = LAST
    return starts


def fills_of(count: int) -> torch.Tensor:
    """Which of a batch fill a selection, N of True and False: half, odd ones and even ones."""
    return torch.arange(count) % 4 % 3 == 0


def begun(
    student: Any,
    first: torch.Tensor,
    at: torch.Tensor,
    later: torch.Tensor,
    embeds: torch.Tensor,
    signal: torch.Tensor,
    known: torch.Tensor,
    learnt: torch.Tensor,
) -> torch.Tensor:
    """Latents at the timesteps ``later`` as a step of DDIM from ``at`` leaves them, N x C x h x w.

    Without gradient: who took that step is not to blame for it.
    """
    first = torch.where(learnt > 0, first, known)
    with torch.no_grad():
        v = student(first, at, encoder_hidden_states=embeds).sample.float()
    guess, eps = told_by(v, first, at, signal)
    alpha = (signal[later] ** 0.5).view(-1, 1, 1, 1)
    return torch.where(learnt > 0, alpha * guess + (1 - alpha**2) ** 0.5 * eps, known)


def main() -> None:
    parser = arguments("Distil the base model for 1 to 8 steps.", 15)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--first", type=float, default=0.4, help="part of each batch")
    parser.add_argument("--subject-share", type=float, default=2.0, help="beside 1 of the others")
    parser.add_argument("--subject-weight", type=float, default=3.0, help="beside 1 elsewhere")
    parser.add_argument("--guided", type=float, default=0.05, help="the guide's weight; 0: none")
    options = parser.parse_args()
    device = device_of(options.threads)
    torch.manual_seed(options.seed)
    data = torch.load(options.work / "latents.pt", weights_only=True)
    latents, empty = data["latents"], data["empty"]
    base = load_checkpoint(options.work / "base.pt")
    if base is None:
        raise SystemExit("Train the base model first.")
    guide = load_guide(options.work, device) if options.guided else None
    truth = read_truth(options.work, "train") if guide else None
    sketches = data["sketches"]
    first = round(options.batch * options.first)
    # Of what follows the first step, half are noised sketches.
    rough_to = (first + options.batch) // 2
    # All kinds have some of each.
    fills, own = fills_of(options.batch), slice(first | 1, None, 2)
    shares = 1 + (options.subject_share - 1) * data["worth"]
    teacher = make_unet()
    text = make_text_encoder(data["vocab_size"], data["vocab_size"] - 1)
    fill_averaged(base, teacher, text)
    student = make_unet()
    student.load_state_dict(teacher.state_dict())
    teacher.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()
    text.to(device).requires_grad_(False).eval()
    with_learnable_attention(student, device).requires_grad_(False)
    student.add_adapter(
        LoraConfig(r=options.rank, lora_alpha=options.rank, target_modules=LORA_TARGETS)
    )
    student.to(device, memory_format=torch.channels_last)
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=options.rate, weight_decay=1e-3)
    path = options.work / "lcm.pt"
    step = 0
    if saved := load_checkpoint(path):
        set_peft_model_state_dict(student, saved["lora"])
        step = saved["step"]
        if step:
            optimizer.load_state_dict(saved["optimizer"])
        torch.manual_seed(options.seed + step)
    signal = DDPMScheduler(**SCHEDULER).alphas_cumprod.to(device)
    with torch.no_grad():
        nothing = text(empty.long().to(device)).last_hidden_state
    log = Log(options.work, "lcm", options.minutes)
    saved_at = time.monotonic()
    while not log.is_over:
        rows = draw_rows(shares, options.batch)
        clean = latents[rows].to(device).float() * data["scale"]
        words = draw_words(data, rows, fills)
        start = drawn_starts(first, options.batch).to(device)
        origin = clean.clone()
        rough = sketches[rows[first:rough_to]].to(device).float() * data["scale"]
        origin[first:rough_to] = rough
        alpha = (signal[start] ** 0.5).view(-1, 1, 1, 1)
        sigma = (1 - alpha**2) ** 0.5
        learnt = torch.ones_like(origin[:, :1])
        learnt[fills] = selections(data["masks"][rows[fills]].float() / 255).to(device)
        noise = torch.randn_like(origin)
        noisy = torch.where(learnt > 0, alpha * origin + sigma * noise, clean)
        # A step of four before; before the first there is none, and none is taken.
        before = (start + len(signal) // 4).clamp(max=LAST)
        alpha_before = (signal[before] ** 0.5).view(-1, 1, 1, 1)
        earlier = alpha_before * origin + (1 - alpha_before**2) ** 0.5 * noise
        with torch.no_grad(), mixed(device):
            embeds = text(words.to(device)).last_hidden_state
            noisy[own] = begun(
                student, earlier[own], before[own], start[own], embeds[own], signal, clean[own],
                learnt[own],
            )  # fmt: skip
            seen = guided(teacher, noisy, start, embeds, nothing, signal, fills.to(device))
            target = seen[0].clone()
            target[:first] = finished(
                student, (seen[0][:first], seen[1][:first]), embeds[:first], signal,
                clean[:first], learnt[:first],
            )  # fmt: skip
        with mixed(device):
            v_start = student(noisy, start, encoder_hidden_states=embeds).sample.float()
        guess, _ = told_by(v_start, noisy, start, signal)
        error = huber(guess - target)
        cover = evened(data["masks"][rows].to(device).float() / 255)[:, None]  # N x 1 x h x w
        counts = learnt * (1 + (options.subject_weight - 1) * cover)
        error = (error * counts).mean((1, 2, 3)) / counts.mean((1, 2, 3))
        loss = error.mean()
        unlike = torch.zeros(1)
        if guide is not None and truth is not None:
            known = Known(truth, rows[:first], device)
            # Words do not say where the joints are. Later steps please it by what the eye takes
            # for noise.
            unlike = disagreement(guide, guess[:first], known, noise=SEEN_THROUGH, joints=False)
            loss = loss + options.guided * unlike.mean()
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 30)
            group["lr"] = options.rate * warm * min(1.0, max(0.05, (1 - log.part) / 0.4))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        log.add(
            step,
            step * options.batch,
            every=10,
            first=error[:first].mean().item(),
            sketch=error[first:rough_to].mean().item(),
            later=error[rough_to:].mean().item(),
            unlike=unlike.mean().item(),
        )
        if time.monotonic() - saved_at > 120 or log.is_over:
            saved_at = time.monotonic()
            lora = get_peft_model_state_dict(student)
            save_checkpoint(path, {"lora": lora, "optimizer": optimizer.state_dict(), "step": step})


if __name__ == "__main__":
    main()
