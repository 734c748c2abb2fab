"""``python -m nijimi_backend`` is the command ``nijimi``."""

from __future__ import annotations

from .cli import main

raise SystemExit(main())
