"""The home directory: which one, what lies where, and what defaults.json may say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online.home import Defaults, Home, choose_home, load_defaults, parse_fingerprint
from shared.errors import RequestRejected

DIGEST = "0123456789abcdef" * 4


def _write(home: Home, content: str) -> None:
    home.defaults.parent.mkdir(parents=True)
    home.defaults.write_text(content)


def test_option_wins_over_environment_over_user(tmp_path: Path) -> None:
    """A command that looked into another home than the one named would use the wrong CA."""
    user = tmp_path / "user"
    assert choose_home(tmp_path / "a", {"COLDROOT_HOME": "/b"}, user).path == tmp_path / "a"
    assert choose_home(None, {"COLDROOT_HOME": "/b"}, user).path == Path("/b")
    assert choose_home(None, {"COLDROOT_HOME": ""}, user).path == user / ".coldroot"
    assert choose_home(None, {}, user).path == user / ".coldroot"


def test_layout_is_steps(tmp_path: Path) -> None:
    """An existing step directory could not be pointed at if a name differed."""
    home = Home(path=tmp_path)
    relative = [
        str(each.relative_to(tmp_path))
        for each in (home.config, home.defaults, home.root_certificate, home.intermediate_certificate)
    ]
    assert relative == ["config/ca.json", "config/defaults.json", "certs/root_ca.crt", "certs/intermediate_ca.crt"]
    assert home.intermediate_key.relative_to(tmp_path) == Path("secrets/intermediate_ca_key")


def test_defaults_round_trip(tmp_path: Path) -> None:
    """What bootstrap writes must be what the next command reads."""
    home = Home(path=tmp_path)
    written = Defaults(ca_url="https://ca.local", fingerprint=DIGEST, root=home.root_certificate)
    _write(home, written.encode(home).decode())
    assert load_defaults(home) == written


def test_defaults_of_step_are_read(tmp_path: Path) -> None:
    """A home that step bootstrapped works unchanged, with keys that only step knows."""
    home = Home(path=tmp_path)
    _write(
        home,
        json.dumps({"ca-url": "https://ca", "fingerprint": DIGEST.upper(), "root": "certs/r.crt", "redirect-url": "x"}),
    )
    assert load_defaults(home) == Defaults(ca_url="https://ca", fingerprint=DIGEST, root=tmp_path / "certs/r.crt")


def test_no_defaults_are_no_error(tmp_path: Path) -> None:
    """A command with only a token runs in an empty home."""
    assert load_defaults(Home(path=tmp_path)) == Defaults()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"ca-url": 1}', '{"fingerprint": "ab"}', "[" * 5000])
def test_broken_defaults_are_named(tmp_path: Path, content: str) -> None:
    """A damaged file must be named, not met with a traceback or taken as no pin at all."""
    home = Home(path=tmp_path)
    _write(home, content)
    with pytest.raises(RequestRejected, match=r"defaults\.json"):
        load_defaults(home)


@pytest.mark.parametrize("text", [DIGEST, DIGEST.upper(), ":".join(DIGEST[i : i + 2] for i in range(0, 64, 2))])
def test_fingerprint_as_people_write_it(text: str) -> None:
    """A fingerprint read over the telephone or from openssl must not be refused for its colons or case."""
    assert parse_fingerprint(text) == DIGEST


@given(st.text(max_size=80))
@settings(max_examples=100)
def test_anything_else_is_no_fingerprint(text: str) -> None:
    """Whatever is accepted is exactly 64 hex digits: it goes into a URL path."""
    try:
        found = parse_fingerprint(text)
    except RequestRejected:
        return
    assert len(bytes.fromhex(found)) == 32
