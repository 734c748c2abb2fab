"""A folder and the plugin's archive enter; a Krita profile with plugin and driver leaves."""

from __future__ import annotations

from pathlib import Path

from ..plugin_install import unpack_plugin, write_config
from .profile import KritaProfile

__all__ = ["plugin_profile"]


def plugin_profile(
    root: Path, archive: Path, python: Path, *, live: bool = False, model: str = "", device: str
) -> KritaProfile:
    """Configured to start the backend of ``python``."""
    profile = KritaProfile(root=root)
    profile.write(("nijimi", "nijimi_driver"))
    unpack_plugin(archive, profile.pykrita_dir)
    write_config(profile.nijimi_config, python, live=live, model=model, device=device)
    return profile
