"""The base model enters; an LCM-LoRA for few steps leaves: ``python -m training.distill_lcm``.

Latent consistency distillation (Luo et al., arXiv 2310.04378, algorithm 1) into a LoRA (arXiv
2311.05556): guidance folded in, DDIM as the solver, pseudo-Huber loss. As in LCM-LoRA's published
recipe the target is the student itself without gradient.

We depart from it in seven points. Only the noisier half of the way is distilled so: at little noise
the targets of a guided teacher carry its faults, and four steps' pictures lay under pebbles. There
the picture is told instead: the student sees the noised latents of a scene, or of its rough sketch,
which is what live painting asks, and must give the finished picture. The solver takes 20 steps, not
50: what is learnt at the middle has fewer of them to come up to pure noise, with which pictures
from words begin, and so do many of the examples. With ``--guided`` the guide must find in a noisy
step's guess what was asked for (reward guided distillation, Li et al., arXiv 2403.11027). Every
second example is noised no further than the step before, and taken on by the student itself: what
is noised is never its own mistake otherwise. Of some only a selection is noised; what surrounds it
is given as it is, at each step (``selections``). And with ``--adversarial`` every guess should pass
for a real picture of its words (``discriminator``).
"""

from __future__ import annotations

import time
from typing import Any

import torch
from diffusers import DDPMScheduler
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

from .discriminator import Critic, joined
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
from .train_base import draw_rows, draw_words
from .workspace import Log, arguments, device_of, load_checkpoint, mixed, save_checkpoint

SOLVER_STEPS = 20
FROM_NOISE = 0.4
LAST = 999
GUIDED_FROM = 699
SKIP = 1000 // SOLVER_STEPS
SIGMA_DATA = 0.5
TIMESTEP_SCALING = 10.0
HUBER_C = 0.001
LORA_TARGETS = [
    "to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2",
    "conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv",
    "time_emb_proj",
]  # fmt: skip


def boundary(timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """c_skip and c_out of the consistency function, N x 1 x 1 x 1 (arXiv 2310.04378, eq. 9)."""
    scaled = timesteps.float().view(-1, 1, 1, 1) * TIMESTEP_SCALING
    spread = scaled.square() + SIGMA_DATA**2
    return SIGMA_DATA**2 / spread, scaled / spread.sqrt()


def consistency_target(
    teacher: Any,
    student: Any,
    noisy: torch.Tensor,
    start: torch.Tensor,
    embeds: torch.Tensor,
    nothing: torch.Tensor,
    weight: torch.Tensor,
    signal: torch.Tensor,
    skip: int,
    known: torch.Tensor,
    learnt: torch.Tensor,
) -> torch.Tensor:
    """What the student says one solver step nearer to the picture, N x C x h x w.

    The step is the teacher's, by DDIM, with guidance ``weight`` (algorithm 1, lines 5 to 7). Where
    ``learnt`` (N x 1 x h x w) is 0, the latents stay what is ``known``.
    """
    end = (start - skip).clamp(min=0)
    alpha = (signal[start] ** 0.5).view(-1, 1, 1, 1)
    sigma = (1 - alpha**2) ** 0.5
    both = torch.cat([embeds, nothing.expand_as(embeds)])
    v = teacher(
        noisy.repeat(2, 1, 1, 1), start.repeat(2), encoder_hidden_states=both
    ).sample.float()
    given, blank = v.chunk(2)
    guided = given + weight * (given - blank)
    x0, eps = alpha * noisy - sigma * guided, alpha * guided + sigma * noisy
    alpha_end = (signal[end] ** 0.5).view(-1, 1, 1, 1)
    sigma_end = (1 - alpha_end**2) ** 0.5
    nearer = torch.where(learnt > 0, alpha_end * x0 + sigma_end * eps, known)
    v_end = student(nearer, end, encoder_hidden_states=embeds).sample.float()
    c_skip, c_out = boundary(end)
    return c_skip * nearer + c_out * (alpha_end * nearer - sigma_end * v_end)


def drawn_starts(count: int, told: int) -> torch.Tensor:
    """N timesteps of the solver's: noisy ones, ``FROM_NOISE`` of them the last, which has no
    signal; the last ``told`` of them, whose picture is known, leave a step of four before."""
    noisy = torch.randint(SOLVER_STEPS // 2, SOLVER_STEPS + 1, (count,)) * SKIP - 1
    starts = torch.where(torch.rand(count) < FROM_NOISE, torch.tensor(LAST), noisy)
    starts[count - told :] = torch.randint(1, SOLVER_STEPS * 3 // 4 + 1, (told,)) * SKIP - 1
    return starts


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
    alpha = (signal[at] ** 0.5).view(-1, 1, 1, 1)
    sigma = (1 - alpha**2) ** 0.5
    guess, eps = alpha * first - sigma * v, alpha * v + sigma * first
    alpha = (signal[later] ** 0.5).view(-1, 1, 1, 1)
    return torch.where(learnt > 0, alpha * guess + (1 - alpha**2) ** 0.5 * eps, known)


def main() -> None:
    parser = arguments("Distil the base model for 1 to 8 steps.", 15)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--guidance", type=float, nargs=2, default=(0.5, 2.5))
    parser.add_argument("--told", type=float, default=0.5, help="part of each batch")
    parser.add_argument("--inpaint", type=float, default=0.25, help="part of each batch")
    parser.add_argument("--subject-share", type=float, default=2.0, help="beside 1 of the others")
    parser.add_argument("--subject-weight", type=float, default=3.0, help="beside 1 elsewhere")
    parser.add_argument("--guided", type=float, default=0.05, help="the guide's weight; 0: none")
    parser.add_argument("--adversarial", type=float, default=0.5, help="beside 1 of the rest")
    parser.add_argument("--critic-rate", type=float, default=5e-4)
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
    critic = None
    if options.adversarial:
        critic = Critic(load_guide(options.work, device), options.critic_rate, device)
    sketches = data["sketches"]
    told = round(options.batch * options.told)
    consistent, rough_to = options.batch - told, options.batch - told // 2
    fills = round(options.batch * options.inpaint)
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
        if critic is not None and "critic" in saved:
            critic.load_state_dict(saved["critic"])
        torch.manual_seed(options.seed + step)
    signal = DDPMScheduler(**SCHEDULER).alphas_cumprod.to(device)
    with torch.no_grad():
        nothing = text(empty.long().to(device)).last_hidden_state
    log = Log(options.work, "lcm", options.minutes)
    saved_at = time.monotonic()
    while not log.is_over:
        rows = draw_rows(shares, options.batch)
        clean = latents[rows].to(device).float() * data["scale"]
        words = draw_words(data, rows, slice(0, fills))
        start = drawn_starts(options.batch, told).to(device)
        origin = clean.clone()
        rough = sketches[rows[consistent:rough_to]].to(device).float() * data["scale"]
        origin[consistent:rough_to] = rough
        alpha = (signal[start] ** 0.5).view(-1, 1, 1, 1)
        sigma = (1 - alpha**2) ** 0.5
        learnt = torch.ones_like(origin[:, :1])
        learnt[:fills] = selections(data["masks"][rows[:fills]].float() / 255).to(device)
        noise = torch.randn_like(origin)
        noisy = torch.where(learnt > 0, alpha * origin + sigma * noise, clean)
        # Every second one as the student's own step before leaves it.
        own = slice(0, options.batch, 2)
        before = torch.full_like(start, LAST)
        before[consistent:] = start[consistent:] + len(signal) // 4
        alpha_before = (signal[before] ** 0.5).view(-1, 1, 1, 1)
        first = alpha_before * origin + (1 - alpha_before**2) ** 0.5 * noise
        with torch.no_grad(), mixed(device):
            told_words = text(words.to(device))
            embeds = told_words.last_hidden_state
            noisy[own] = begun(
                student, first[own], before[own], start[own], embeds[own], signal, clean[own],
                learnt[own],
            )  # fmt: skip
            target = clean.clone()
            low, high = options.guidance
            weight = low + (high - low) * torch.rand(consistent, 1, 1, 1, device=device)
            target[:consistent] = consistency_target(
                teacher, student, noisy[:consistent], start[:consistent], embeds[:consistent],
                nothing, weight, signal, SKIP, clean[:consistent], learnt[:consistent],
            )  # fmt: skip
        with mixed(device):
            v_start = student(noisy, start, encoder_hidden_states=embeds).sample.float()
        c_skip, c_out = boundary(start)
        guess = c_skip * noisy + c_out * (alpha * noisy - sigma * v_start)
        error = ((guess - target).square() + HUBER_C**2).sqrt() - HUBER_C
        cover = data["masks"][rows, None].to(device).float() / 255  # N x 1 x h x w
        counts = learnt * (1 + (options.subject_weight - 1) * cover)
        error = (error * counts).mean((1, 2, 3)) / counts.mean((1, 2, 3))
        loss = error.mean()
        unlike = torch.zeros(1)
        if guide is not None and truth is not None:
            known = Known(truth, rows[:consistent], device)
            # Words do not say where the joints are. Later steps please it by what the eye takes
            # for noise.
            seen = guess[:consistent]
            unlike = disagreement(guide, seen, known, noise=SEEN_THROUGH, joints=False)
            unlike = unlike * (start[:consistent] >= GUIDED_FROM)
            loss = loss + options.guided * unlike.mean()
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 30)
            group["lr"] = options.rate * warm * min(1.0, max(0.05, (1 - log.part) / 0.4))
        optimizer.zero_grad(set_to_none=True)
        passes = 0.0
        if critic is not None:
            whole = told_words.pooler_output.float()
            shown = torch.where(learnt > 0, guess, clean)
            wish = critic.wish(shown, whole)
            guess.backward(joined(loss, wish, guess, options.adversarial))
            passes = critic.learn(clean, shown.detach(), whole)
        else:
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        log.add(
            step,
            step * options.batch,
            every=10,
            consistency=error[fills:consistent].mean().item(),
            inpaint=error[:fills].mean().item() if fills else 0.0,
            sketch=error[consistent:rough_to].mean().item(),
            told=error[rough_to:].mean().item(),
            unlike=unlike.mean().item(),
            critic=passes,
        )
        if time.monotonic() - saved_at > 120 or log.is_over:
            saved_at = time.monotonic()
            lora = get_peft_model_state_dict(student)
            state = {"lora": lora, "optimizer": optimizer.state_dict(), "step": step}
            if critic is not None:
                state["critic"] = critic.state_dict()
            save_checkpoint(path, state)


if __name__ == "__main__":
    main()
