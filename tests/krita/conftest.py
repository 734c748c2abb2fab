"""Real Krita under Xvfb: one with the plugin for most tests, fresh ones where a test ends it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "installer"))

from nijimi_backend.plugin_archive import build_archive  # noqa: E402
from nijimi_installer.desktop.krita_process import KritaProcess  # noqa: E402
from nijimi_installer.desktop.plugin_profile import plugin_profile  # noqa: E402
from nijimi_installer.desktop.profile import KritaProfile  # noqa: E402
from nijimi_installer.desktop.xvfb import VirtualScreen  # noqa: E402

from .session import Session  # noqa: E402

_NEEDED = ("krita", "Xvfb", "xdotool")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.krita)
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(missing)}"))


@pytest.fixture(scope="session")
def screen() -> Iterator[VirtualScreen]:
    with VirtualScreen() as screen:
        yield screen


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> KritaProfile:
    """The profile of the Krita that most tests share."""
    return _profile(tmp_path_factory.mktemp("krita"))


@pytest.fixture(scope="module")
def own_profile(tmp_path_factory: pytest.TempPathFactory) -> KritaProfile:
    """One for tests that start a Krita of their own: the shared one may be running beside it."""
    return _profile(tmp_path_factory.mktemp("own-krita"))


def _profile(root: Path) -> KritaProfile:
    """A profile with plugin and driver, configured to start the tests' own backend."""
    archive = root / "nijimi.zip"
    build_archive(archive)
    return plugin_profile(root, archive, Path(sys.executable), device="cpu")


@pytest.fixture(scope="session")
def shared_session(profile: KritaProfile, screen: VirtualScreen) -> Iterator[Session]:
    with KritaProcess(profile, screen.display) as krita:
        session = Session(krita)
        session.step("fill_screen")
        session.nijimi("show_docker")
        yield session


@pytest.fixture
def session(shared_session: Session) -> Iterator[Session]:
    """The shared Krita with a fresh 512 x 512 document and live mode off."""
    shared_session.reset()
    yield shared_session
    shared_session.end_of_test()
