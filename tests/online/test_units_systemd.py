"""systemd's own judgement of the unit files, without a running systemd."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from online.units import RenewerUnits, ServerUnits, Unit

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path("/bin/true")
HOME = Path("/etc/coldroot")
HAS_SYSTEMD = shutil.which("systemd-analyze") is not None

pytestmark = pytest.mark.skipif(not HAS_SYSTEMD, reason="systemd-analyze is not installed (Debian: systemd)")


def put(units: tuple[Unit, ...], directory: Path) -> list[str]:
    """Write units; return the names to verify, templates with an instance."""
    for unit in units:
        (directory / unit.name).write_text(unit.text)
    return [f"./{unit.name.replace('@.', '@web.')}" for unit in units]


def analyze(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    return subprocess.run(
        ["systemd-analyze", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_UNIT_PATH": f"{cwd}:", "LC_ALL": "C"},
    )


def server_units(listen: str | None) -> tuple[Unit, ...]:
    """Return the units of a node."""
    return ServerUnits(program=PROGRAM, home=HOME, listen=listen).render()


@pytest.mark.parametrize("listen", [None, "443"])
def test_the_server_units_are_clean(tmp_path: Path, listen: str | None) -> None:
    """Without this, systemd would ignore a misspelt protection with a warning that nobody reads."""
    names = put(server_units(listen), tmp_path)
    done = analyze("verify", "--man=no", *names, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_renewer_units_are_clean(tmp_path: Path) -> None:
    """Without this, a renewal could fail on the day when it is first needed."""
    names = put(RenewerUnits(program=PROGRAM, home=HOME, certificates=Path("/etc/step/certs")).render(), tmp_path)
    done = analyze("verify", "--man=no", *names, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_misspelt_setting_would_be_noticed(tmp_path: Path) -> None:
    """Without this, the two tests above could be passing because nothing is looked at."""
    (unit,) = server_units(None)
    put((Unit(name=unit.name, text=unit.text.replace("ProtectClock=", "ProtectClocks=")),), tmp_path)
    done = analyze("verify", "--man=no", f"./{unit.name}", cwd=tmp_path)
    assert "ProtectClocks" in done.stderr


def exposure(directory: Path, name: str) -> float:
    """Return the overall exposure level of a unit, 0 (nothing) to 10 (everything)."""
    done = analyze("security", "--offline=true", "--no-pager", f"./{name}", cwd=directory)
    match = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    if match is None:
        pytest.skip(f"this systemd does not judge unit files offline: {done.stderr.strip()[:100]}")
    return float(match[1])


@pytest.mark.parametrize(("listen", "most"), [(None, 1.5), ("443", 1.2)])
def test_the_exposure_stays_low(tmp_path: Path, listen: str | None, most: float) -> None:
    """Without this, protections could go one by one. step-ca's unit has 2.1; some systemd versions differ by 0.1."""
    unit = server_units(listen)[0]
    put((unit,), tmp_path)
    assert exposure(tmp_path, unit.name) <= most


def test_what_is_left_open_is_what_the_documents_say(tmp_path: Path) -> None:
    """Without this, docs/operations.md could explain fewer openings than there are."""
    unit = server_units("443")[0]
    put((unit,), tmp_path)
    done = analyze("security", "--offline=true", "--json=short", f"./{unit.name}", cwd=tmp_path)
    if not done.stdout.startswith("["):
        pytest.skip("this systemd does not judge unit files offline as JSON")
    open_ = {entry["name"].split("=")[0] for entry in json.loads(done.stdout) if float(entry["exposure"] or 0) > 0}
    said = (ROOT / "docs" / "operations.md").read_text()
    for name in open_:
        assert f"`{name}" in said, f"{name} is open and not explained"
