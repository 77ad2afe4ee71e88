"""The wheel as others get it: what is in it, what it asks for, and that its commands trust no other directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ceremony", "online", "shared")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

pytestmark = pytest.mark.skipif(
    Version(metadata.version("setuptools")) < Version("77"), reason="setuptools is too old here: run scripts/test"
)


def _run(*command: str | Path, **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout + done.stderr)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel without network and without a build environment, from a copy of the sources."""
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    # What else a checkout holds must not slip in.
    (source / "tests").mkdir()
    (source / "tests" / "__init__.py").touch()
    pip = (sys.executable, "-I", "-m", "pip", "--isolated", "wheel", "--quiet")
    _run(*pip, "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", base / "out", source)
    (built,) = (base / "out").iterdir()
    return built


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment of its own that borrows the dependencies of this one."""
    base = tmp_path_factory.mktemp("installation") / "venv"
    venv.create(base, with_pip=False, symlinks=True)
    (site,) = base.glob("lib/python*/site-packages")
    # A line in a .pth file adds the directory but not what the .pth files in it add: not the checkout.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n" + sysconfig.get_path("platlib") + "\n")
    pip = (sys.executable, "-I", "-m", "pip", "--isolated", f"--python={base / 'bin' / 'python'}", "install", "--quiet")
    _run(*pip, "--no-index", "--no-deps", "--force-reinstall", "--ignore-installed", wheel)
    return base


def test_the_wheel_holds_our_packages_and_nothing_else(wheel: Path) -> None:
    """A stray top level (tests, scripts) would be importable on every user's machine under a common name."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {*PACKAGES, f"coldroot-{PROJECT['version']}.dist-info"}


def test_the_wheel_is_complete(wheel: Path) -> None:
    """A file that works from the checkout and is missing from the wheel fails at the first user."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    source = wheel.parents[1] / "source"
    for package in PACKAGES:
        files = {path.relative_to(source).as_posix() for path in (source / package).rglob("*") if path.is_file()}
        assert files <= names
        assert f"{package}/py.typed" in names, "type checkers would ignore the package"
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    """A dependency that only the lock files know would be missing after a plain pip install."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        fields = HeaderParser().parsestr(archive.read(name).decode())
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        scripts = archive.read(name).decode()
    needs = fields.get_all("Requires-Dist") or []
    assert sum("extra ==" not in text for text in needs) == len(PROJECT["dependencies"])
    for extra, listed in PROJECT["optional-dependencies"].items():
        assert sum(f'extra == "{extra}"' in text for text in needs) == len(listed), extra
    assert fields["License-Expression"] == "Apache-2.0"
    assert {line.split(" = ")[0] for line in scripts.splitlines() if "=" in line} == {"ceremony", "online"}


@pytest.mark.parametrize("command", ["ceremony", "online"])
@pytest.mark.parametrize("intruder", ["shared", "click", "cryptography"])
def test_the_commands_load_nothing_from_where_they_stand(
    command: str, intruder: str, installation: Path, tmp_path: Path
) -> None:
    """A stick with its own ``shared/`` must not be able to run code in the ceremony."""
    marker = tmp_path / "it-ran"
    hostile = tmp_path / "stick"
    (hostile / intruder).mkdir(parents=True)
    (hostile / intruder / "__init__.py").write_text(f"open({str(marker)!r}, 'w')\n")
    environment = {**os.environ, "PYTHONPATH": str(hostile)}
    said = _run(installation / "bin" / command, "--help", cwd=hostile, env=environment)
    assert "Usage" in said
    assert not marker.exists()


@pytest.mark.parametrize("command", ["ceremony", "online"])
def test_the_commands_refuse_another_ones_shared(command: str, installation: Path, tmp_path: Path) -> None:
    """Another distribution may install a package named ``shared``; running with it would be running unknown code."""
    copy = tmp_path / "copy"
    shutil.copytree(installation, copy, symlinks=True)
    (site,) = copy.glob("lib/python*/site-packages")
    elsewhere = tmp_path / "elsewhere" / "shared"
    elsewhere.mkdir(parents=True)
    (elsewhere / "__init__.py").write_text("raise RuntimeError('foreign code ran')\n")
    shutil.rmtree(site / "shared")
    (site / "other.pth").write_text(f"{elsewhere.parent}\n")
    program = f"import sys; sys.argv = [{command!r}, '--help']; from {command}.__main__ import main; main()"
    python = copy / "bin" / "python"
    done = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "does not come from this installation" in done.stderr
    assert "foreign code ran" not in done.stderr
