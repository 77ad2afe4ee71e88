"""The offline bundle: made, damaged, and installed where there is no network at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.rehearsal import Rehearsal
from fakes.softhsm import needs_softhsm

from ceremony.host.wheelhouse import PLACE, manifest_digest
from shared.crossing.words import digest_words

ROOT = Path(__file__).resolve().parents[1]
OFFLINE = ("unshare", "-n")

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the bundle is for Linux"),
]


def _may_unshare() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*OFFLINE, "true"], capture_output=True, check=False).returncode == 0
    )


def _run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a bundle without Debian packages; skip where packages cannot be downloaded."""
    path = tmp_path_factory.mktemp("wheelhouse") / "bundle"
    environment = {**os.environ, "COLDROOT_VENV": sys.prefix, "PIP_RETRIES": "1", "PIP_DEFAULT_TIMEOUT": "30"}
    done = _run(ROOT / "scripts" / "wheelhouse", path, env=environment)
    if done.returncode and "downloading the wheels failed" in done.stderr:
        pytest.skip("packages cannot be downloaded here")
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256((path / "SHA256SUMS").read_bytes())
    assert done.stdout.split() == [digest.hexdigest(), *digest_words(digest.digest())]
    return path


def test_the_manifest_lists_every_file(bundle: Path) -> None:
    """What is not listed is not covered by the digest that people compare."""
    lines = (bundle / "SHA256SUMS").read_text().splitlines()
    listed = [line[66:] for line in lines]
    assert listed == sorted(listed)
    files = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert set(listed) == files - {"SHA256SUMS"}
    done = _run("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS", cwd=bundle)
    assert done.returncode == 0, done.stdout


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda copy: _flip(next(copy.glob("wheels/coldroot-*.whl"))), "a file is not as the manifest lists it"),
        (lambda copy: (copy / "about.txt").unlink(), "a file is not as the manifest lists it"),
        (lambda copy: (copy / "wheels" / "click-99-py3-none-any.whl").touch(), "a file is not in the manifest"),
        (lambda copy: (copy / "wheels" / "link.whl").symlink_to("/etc/passwd"), "a file is not in the manifest"),
    ],
    ids=["a bit", "a file lost", "a file added", "a link added"],
)
def test_a_damaged_bundle_installs_nothing(
    bundle: Path, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    """A stick passes through many hands; the first thing the installer does must be to look."""
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    damage(copy)
    done = _run(copy / "install", tmp_path / "venv")
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "venv").exists()


def test_another_bundle_than_the_one_read_aloud(bundle: Path, tmp_path: Path) -> None:
    """A bundle that is whole in itself and another one is the attack that only the spoken digest stops."""
    done = _run(bundle / "install", tmp_path / "venv", "00" * 32)
    assert done.returncode == 1
    assert "this is not the bundle that was read aloud" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.skipif(not _may_unshare(), reason="this user may not make a network namespace")
@needs_softhsm
def test_installed_without_a_network(bundle: Path, tmp_path: Path) -> None:
    """The day's machine has no network: what is missing in the bundle is missed there, with everybody waiting."""
    venv = tmp_path / "venv"
    digest = hashlib.sha256((bundle / "SHA256SUMS").read_bytes()).hexdigest()
    done = _run(*OFFLINE, bundle / "install", venv, digest)
    assert done.returncode == 0, done.stderr
    assert digest in done.stdout
    assert manifest_digest(venv) == digest
    # 1. The command runs, and finds its own files as they were installed, and no network.
    command = (*OFFLINE, venv / "bin" / "ceremony")
    assert "Conduct a root key ceremony" in _run(*command, "--help").stdout
    findings = {
        each["check"]: each for each in json.loads(_run(*command, "host", "check", "--rehearsal", "--json").stdout)
    }
    assert findings["installation"]["status"] == findings["interfaces"]["status"] == "pass", findings
    # 2. A rehearsal records the bundle first of all, and verifies.
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare()
    done = _run(
        *command, "rehearse", "root", "--plan", tmp_path / "plan.toml", "--hsm", tmp_path / "hsm.toml", "--dir",
        rehearsal.directory, "--words-file", rehearsal.words,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    genesis = json.loads((rehearsal.directory / "transcript.jsonl").read_text().splitlines()[0])
    assert genesis["body"]["wheelhouse"] == digest
    done = _run(*command, "verify", rehearsal.directory)
    assert done.returncode == 0, done.stderr
    # 3. A changed file is found.
    (installed,) = venv.glob("lib/python*/site-packages/ceremony/records.py")
    installed.write_text(installed.read_text() + "\n")
    done = _run(*command, "host", "check")
    assert done.returncode == 1
    assert "ceremony/records.py was changed" in done.stdout


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "../../etc/passwd", "A" * 64, "é" * 64])
def test_only_a_digest_is_recorded(tmp_path: Path, text: str) -> None:
    """Whatever lies in that file would else be published in the transcript's first line."""
    (tmp_path / PLACE).parent.mkdir(parents=True)
    (tmp_path / PLACE).write_text(text)
    assert manifest_digest(tmp_path) is None
    assert manifest_digest(tmp_path / "nowhere") is None


def test_arguments_are_checked(tmp_path: Path) -> None:
    """A bundle over an old one would mix two manifests."""
    environment = {**os.environ, "COLDROOT_VENV": sys.prefix}
    for arguments, status in (
        ((tmp_path,), 1),
        (("--package", "x", tmp_path / "new"), 1),
        ((), 2),
        (("--nonsense",), 2),
    ):
        done = _run(ROOT / "scripts" / "wheelhouse", *arguments, env=environment)
        assert done.returncode == status, done.stderr
    assert not (tmp_path / "new").exists()
