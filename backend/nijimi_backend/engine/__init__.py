"""A FrameRequest enters, a Picture leaves: stages as functions of tensors, each cached."""

from __future__ import annotations

from .request import FrameRequest, Picture

__all__ = ["FrameRequest", "Picture"]
