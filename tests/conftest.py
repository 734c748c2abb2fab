"""Every test enters; none leaves by hypothesis's own clock: a busy machine is no fault of ours."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("nijimi", deadline=None)
settings.load_profile("nijimi")
