"""hsm.toml: read strictly, and what it does to this process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ceremony.hsm import HsmSettings, load_hsm_settings
from shared.errors import NotFound, RequestRejected

GOOD = 'module = "/opt/m.so"\ntoken_label = "root"\n'


def write(directory: Path, text: str) -> Path:
    file = directory / "hsm.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_device(tmp_path: Path) -> None:
    """A real HSM is a module and a label, perhaps a serial."""
    assert load_hsm_settings(write(tmp_path, GOOD + 'token_serial = "42"\n')) == HsmSettings(
        module=Path("/opt/m.so"), token_label="root", token_serial="42", softhsm_directory=None
    )


def test_softhsm_directory_is_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's directory can be anywhere: tokens must not land in the working directory."""
    write(tmp_path, GOOD + '[softhsm]\ndirectory = "tokens"\n')
    monkeypatch.chdir(tmp_path)
    assert load_hsm_settings(Path("hsm.toml")).softhsm_directory == tmp_path / "tokens"


@pytest.mark.parametrize(
    ("text", "code", "where"),
    [
        ("", "hsm-settings.missing-key", "module"),
        ('module = "/opt/m.so"\n', "hsm-settings.missing-key", "token_label"),
        (GOOD + "pin = '1234'\n", "hsm-settings.unknown-key", "pin"),
        (GOOD + "[softhsm]\ndirektory = 't'\n", "hsm-settings.unknown-key", "softhsm.direktory"),
        (GOOD + "[softhsm]\ndirectory = 't'\nx = 1\n", "hsm-settings.unknown-key", "softhsm.x"),
        (GOOD + "[softhsm]\ndirectory = 'a#b'\n", "hsm-settings.invalid", "softhsm.directory"),
        (GOOD + "[softhsm]\ndirectory = ''\n", "hsm-settings.invalid", "softhsm.directory"),
        (GOOD + "softhsm = 1\n", "hsm-settings.wrong-type", "softhsm"),
        (GOOD + "token_serial = 42\n", "hsm-settings.wrong-type", "token_serial"),
        (GOOD + "token_serial = ' '\n", "hsm-settings.invalid", "token_serial"),
        ("module = './m.so'\ntoken_label = 'x'\n", "hsm-settings.invalid", "module"),
        ("module = '/opt/m.so'\ntoken_label = ''\n", "hsm-settings.invalid", "token_label"),
        (f"module = '/opt/m.so'\ntoken_label = '{'x' * 33}'\n", "hsm-settings.invalid", "token_label"),
        ("module = '/opt/m.so'\ntoken_label = ' x'\n", "hsm-settings.invalid", "token_label"),
        ("module = ", "hsm-settings.malformed", ""),
    ],
)
def test_refused(tmp_path: Path, text: str, code: str, where: str) -> None:
    """A typo in the file must name its key; a PIN has no place in it."""
    with pytest.raises(RequestRejected) as caught:
        load_hsm_settings(write(tmp_path, text))
    assert caught.value.code == code
    assert where in caught.value.message


def test_a_module_by_name(tmp_path: Path) -> None:
    """A module that is not installed must be named with the way to get it."""
    with pytest.raises(NotFound) as caught:
        load_hsm_settings(write(tmp_path, "module = 'absent'\ntoken_label = 'x'\n"))
    assert caught.value.code == "hsm.module-missing"


def test_activating_creates_nothing_that_hides_a_typo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped directory must not become an empty SoftHSM in which the key is then missing."""
    monkeypatch.setenv("SOFTHSM2_CONF", "/before")
    settings = HsmSettings(module=Path("/nowhere.so"), token_label="x", softhsm_directory=tmp_path / "tokens")
    with pytest.raises(NotFound) as caught:
        settings.activate()
    assert caught.value.code == "hsm.token-directory-missing"
    assert not (tmp_path / "tokens").exists()
    assert os.environ["SOFTHSM2_CONF"] == "/before"


def test_activating_writes_a_private_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and their configuration are the owner's only, and follow the directory when it is moved."""
    monkeypatch.setenv("SOFTHSM2_CONF", "/before")
    for name in ("one", "two"):
        settings = HsmSettings(module=Path("/nowhere.so"), token_label="x", softhsm_directory=tmp_path / name)
        with pytest.raises(NotFound):
            settings.activate(create=True)
        if name == "one":
            (tmp_path / "one").rename(tmp_path / "two")
    file = tmp_path / "two" / "softhsm2.conf"
    assert os.environ["SOFTHSM2_CONF"] == str(file)
    assert f"directories.tokendir = {tmp_path}/two\n" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
