"""What all the scripts do first: see that their environment is complete, or that it can be made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOBODY = 65534


@pytest.fixture
def checkout() -> Iterator[Path]:
    """Yield what the scripts need of a checkout, in a directory that every user can enter."""
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        base.chmod(0o755)
        for name in ("scripts", "requirements"):
            shutil.copytree(ROOT / name, base / name)
        shutil.copy(ROOT / "pyproject.toml", base)
        (base / "tmp").mkdir()
        (base / "tmp").chmod(0o777)
        yield base


def _run_as_another(checkout: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo as a user who does not own ``.venv``: as nobody where we may, else as ourselves."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("COLDROOT", "PYTHON"))}
    other = NOBODY if os.geteuid() == 0 else None
    return subprocess.run(
        [checkout / "scripts" / "demo", "--dir", checkout / "tmp" / "demo"],
        capture_output=True, text=True, check=False, cwd=checkout, user=other, group=other, timeout=60,
        extra_groups=[] if other else None, env={**keep, "TMPDIR": str(checkout / "tmp")},
    )  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="users are changed as Linux does it")
@pytest.mark.parametrize("made", [True, False])
def test_an_environment_of_another_user_is_one_line(checkout: Path, made: bool) -> None:
    """It was thousands: one for each file that could not be removed."""
    if made:
        library = checkout / ".venv" / "lib"
        library.mkdir(parents=True)
        (library / "module.py").write_text("")
        library.chmod(0o555)
        library.parent.chmod(0o555)
    else:
        checkout.chmod(0o555)
    try:
        done = _run_as_another(checkout)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stderr.startswith(f"demo: {checkout}")
        assert "COLDROOT_VENV" in done.stderr
        assert list((checkout / "tmp").iterdir()) == []
        assert (checkout / ".venv" / "lib" / "module.py").exists() is made
    finally:
        for directory in (checkout, *checkout.glob(".venv"), *checkout.glob(".venv/lib")):
            directory.chmod(0o755)
