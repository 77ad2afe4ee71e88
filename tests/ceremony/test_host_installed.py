"""The installation against its own record: a package that the test installs, and then damages."""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ceremony.host.installed import faults

NAME = "coldroot-test-subject"
FOLDER = "coldroot_test_subject"


def record_line(site: Path, name: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256((site / name).read_bytes()).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{(site / name).stat().st_size}\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a small package and one that it needs; return where."""
    for name, needs in (
        (NAME, "coldroot-test-needed>=1"),
        ("coldroot-test-needed", "coldroot-test-absent; extra == 'x'"),
    ):
        folder = tmp_path / name.replace("-", "_")
        info = tmp_path / f"{folder.name}-1.dist-info"
        folder.mkdir()
        info.mkdir()
        (folder / "__init__.py").write_text("")
        (folder / "data, with a comma.txt").write_text("data")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\nRequires-Dist: {needs}\n")
        lines = [record_line(tmp_path, f"{folder.name}/__init__.py"), record_line(tmp_path, f"{info.name}/METADATA")]
        data = record_line(tmp_path, f"{folder.name}/data, with a comma.txt").partition(",sha256=")
        lines.append(f'"{data[0]}",sha256={data[2]}')
        (info / "RECORD").write_text(
            "".join([*lines, f"{info.name}/RECORD,,\n", f"{folder.name}/__pycache__/x.pyc,,\n"])
        )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def test_an_untouched_installation_has_no_fault(site: Path) -> None:
    """A check that cries wolf is switched off; caches and unneeded extras are nobody's fault."""
    cache = site / FOLDER / "__pycache__"
    cache.mkdir()
    (cache / "__init__.cpython-311.pyc").write_bytes(b"")
    assert faults(NAME) == ()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda site: (site / FOLDER / "__init__.py").write_text("x = 1"), f"{FOLDER}/__init__.py was changed"),
        (lambda site: (site / FOLDER / "data, with a comma.txt").unlink(), "with a comma.txt is missing"),
        (lambda site: (site / "coldroot_test_needed" / "__init__.py").write_text("#"), "coldroot-test-needed: "),
        (lambda site: (site / FOLDER / "more.py").write_text(""), f"{FOLDER}/more.py was added"),
        (lambda site: (site / "sitecustomize.py").write_text(""), "sitecustomize.py belongs to no installed package"),
        (lambda site: (site / "run.pth").write_text("import os"), "run.pth belongs to no installed package"),
        (
            lambda site: (site / f"{FOLDER}-1.dist-info" / "direct_url.json").write_text(
                '{"dir_info": {"editable": true}}'
            ),
            "refers to a checkout",
        ),
        (lambda site: (site / f"{FOLDER}-1.dist-info" / "RECORD").unlink(), "has no record"),
        (
            lambda site: (site / f"{FOLDER}-1.dist-info" / "RECORD").write_text(f"{FOLDER}/__init__.py,md5=AA,0\n"),
            "unknown kind (md5)",
        ),
    ],
)
def test_every_difference_is_found(site: Path, damage: Callable[[Path], object], said: str) -> None:
    """Each of these runs other code than what was installed and read aloud."""
    damage(site)
    found = faults(NAME)
    assert any(said in fault for fault in found), found


def test_faults_are_few_and_nothing_is_not_fine(site: Path) -> None:
    """A line with a thousand names is not read, and a package that is not there has no sound installation."""
    for number in range(50):
        (site / FOLDER / f"added_{number}.py").write_text("")
    assert len(faults(NAME)) == 9
    assert faults("coldroot-test-no-such") == ("it is not installed at all",)


def test_a_real_package_as_pip_installs_it() -> None:
    """The record's dialect is that of real installers: a library that is in use here has no fault of its own."""
    assert [fault for fault in faults("cryptography") if "belongs to no" not in fault] == []
