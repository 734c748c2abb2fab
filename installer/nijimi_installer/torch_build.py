"""What graphics the machine has enters; the build of torch that suits it, installed, leaves.

PyTorch publishes the same version as several builds, told apart by a local label: ``+cpu``, or
one for each CUDA release. Which of them an index offers is the index's choice, so a build is asked
for by label, and what came is looked at afterwards.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from .progress import say, stage

__all__ = ["TORCH_VERSION", "advice", "has_nvidia_gpu", "install_torch", "is_built_for_cuda"]

TORCH_VERSION = "2.13.0"

Pip = Callable[..., bool]
"""Words for ``pip install``, and ``quiet=True`` where a failure is no news; success comes back."""


def has_nvidia_gpu() -> bool:
    """Whether NVIDIA's own tool lists a device: a driver alone is not enough."""
    try:
        asked = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0 and "GPU" in asked.stdout


def install_torch(
    pip: Pip, built_for_cuda: Callable[[], bool], *, has_gpu: bool, index: str
) -> bool:
    """Install torch for what was found; an ``index`` that was named decides instead."""
    kind = "the CUDA build, for the NVIDIA GPU" if has_gpu else "the CPU build: no NVIDIA GPU found"
    with stage(f"Installing torch ({kind})"):
        exact = f"torch=={TORCH_VERSION}"
        if index:
            # What is there already may be another build of the same version.
            done = pip("--upgrade", "--force-reinstall", "--extra-index-url", index, exact)
        elif has_gpu:
            done = pip(exact)
        else:
            done = pip(f"{exact}+cpu", quiet=True) or pip(exact)
    if done and (told := advice(has_gpu=has_gpu, for_cuda=built_for_cuda())):
        say(f"    {told}")
    return done


def advice(*, has_gpu: bool, for_cuda: bool) -> str:
    """What to tell where the build that came is not the one that suits the machine."""
    if has_gpu and not for_cuda:
        return (
            "There is an NVIDIA GPU, but pip's index gave torch's CPU build: pictures come from "
            "the CPU. For the GPU, run again with --torch-index and the address of PyTorch's "
            "CUDA wheels."
        )
    if for_cuda and not has_gpu:
        return (
            "There is no NVIDIA GPU, but pip's index gave torch's CUDA build: it works, and takes "
            "some gigabytes more. For the small one, run again with --torch-index and the address "
            "of PyTorch's CPU wheels."
        )
    return ""


def is_built_for_cuda(python: Path) -> bool:
    """Whether the torch of that interpreter is a CUDA build."""
    asked = subprocess.run(
        [str(python), "-c", "import torch; print(torch.version.cuda or '')"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.returncode == 0 and bool(asked.stdout.strip())
