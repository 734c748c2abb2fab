"""The machine enters; a mark leaves for tests that need what is built for AMX."""

from __future__ import annotations

import pytest
from nijimi_backend.engine.native.build import compiler, has_tiles

__all__ = ["needs_tiles"]

needs_tiles = pytest.mark.skipif(
    not has_tiles() or compiler() is None,
    reason="this processor multiplies no tiles (AMX), or there is no C compiler",
)
