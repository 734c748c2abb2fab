"""``python3 installer run`` and ``python3 installer test``: words enter, an exit status leaves."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit(
        f"Nijimi needs Python 3.11 or newer; this is {sys.version.split()[0]}. "
        "Install one and run it with that python3."
    )

sys.path.insert(0, str(Path(__file__).resolve().parent))

from nijimi_installer.commands import main

raise SystemExit(main())
