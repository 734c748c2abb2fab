"""Nothing enters; what an engine says that makes each picture by itself leaves."""

from __future__ import annotations

from nijimi_backend.engine.request import FrameRequest
from nijimi_backend.session.jobs import CompanyLike

__all__ = ["PaintsAlone"]


class PaintsAlone:
    """For stand-ins of an engine."""

    def joins(self, request: FrameRequest) -> None:
        return None

    def company(self) -> CompanyLike:
        raise AssertionError("its pictures are made alone")
