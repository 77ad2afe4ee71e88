"""Throw-away SoftHSM tokens for tests, many in one process.

SoftHSM is configured by the environment variable SOFTHSM2_CONF, which a process has once, and a PKCS#11 module
is initialised once. Both can be lived with: ``shared.keystore.module.Module.refresh`` initialises the module
again, and so reads the variable again, whenever no session is open. So each test points the variable at a
directory of its own, and the one rule is: **close every session before the test ends**. The fixture fails a test
that does not, since the next test would suffer for it.

Use it so; pytest finds the fixture by its import::

    from fakes.softhsm import SoftHsm, needs_softhsm, softhsm_fixture  # noqa: F401

    @needs_softhsm
    def test_something(softhsm: SoftHsm) -> None:
        token = softhsm.token("root", user_pin=b"1234")
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ceremony.hsm import HsmSettings, TokenInfo, initialise_token
from ceremony.hsm.cryptoki import initialise
from shared.errors import NotFound
from shared.keystore import Module, find_module, load_module


def module_path() -> Path | None:
    """Return where libsofthsm2 is, or ``None``."""
    try:
        return find_module("softhsm2")
    except NotFound:
        return None


needs_softhsm = pytest.mark.skipif(
    module_path() is None, reason="libsofthsm2 is not installed (Debian: apt install softhsm2)"
)


@dataclass(frozen=True, slots=True)
class SoftHsm:
    """A SoftHSM of one test, in a directory of its own."""

    directory: Path
    """Holds the tokens and softhsm2.conf."""
    path: Path
    """The module."""

    @property
    def module(self) -> Module:
        """The loaded module."""
        return load_module(self.path)

    def settings(self, label: str = "root", serial: str | None = None) -> HsmSettings:
        """Return ceremony settings for this SoftHSM."""
        return HsmSettings(module=self.path, token_label=label, token_serial=serial, softhsm_directory=self.directory)

    def token(self, label: str = "root", *, so_pin: bytes = b"so-pin-1", user_pin: bytes = b"user-pin-1") -> TokenInfo:
        """Make a token with both PINs set."""
        return initialise_token(self.settings(label), so_pin=so_pin, user_pin=user_pin)

    def twin(self, label: str, *, so_pin: bytes = b"so-pin-1") -> None:
        """Make a further token under a label that may exist, which the product refuses to do."""
        blank = next(token for token in self.module.tokens() if not token.initialised)
        initialise(self.module, blank, label=label, so_pin=so_pin)

    def unplug(self) -> Path:
        """Take the tokens' directories away, as if the device were pulled; ``plug`` brings them back."""
        away = self.directory.with_name(self.directory.name + ".away")
        away.mkdir()
        for entry in self.directory.iterdir():
            if entry.is_dir():
                entry.rename(away / entry.name)
        return away

    def plug(self) -> None:
        """Bring back what ``unplug`` took away."""
        away = self.directory.with_name(self.directory.name + ".away")
        for entry in away.iterdir():
            entry.rename(self.directory / entry.name)
        away.rmdir()


@pytest.fixture(name="softhsm")
def softhsm_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftHsm]:
    """Give a test a SoftHSM of its own, and check that it left no session open."""
    path = module_path()
    assert path is not None, "mark the test with needs_softhsm"
    monkeypatch.setenv("SOFTHSM2_CONF", "")  # so that the old value is restored afterwards
    hsm = SoftHsm(tmp_path / "softhsm" / "tokens", path)
    hsm.directory.parent.mkdir()
    hsm.settings().activate(create=True)
    yield hsm
    hsm.settings().activate()
    assert load_module(path).sessions == 0, "the test left an HSM session open"
