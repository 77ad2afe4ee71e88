"""The commands about bundles: looked into, drawn, filmed and read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes.rehearsal import request_bundle

from ceremony.cli import cli
from shared import keys
from shared.crossing.bundle import digest
from shared.crossing.words import digest_words


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    """Write a request bundle."""
    path = tmp_path / "request.bundle"
    path.write_bytes(request_bundle(keys.generate(keys.KeyKind.EC_P256)))
    return path


def _run(*arguments: str | Path, status: int = 0) -> str:
    done = CliRunner().invoke(cli, ["bundle", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done.stdout if status == 0 else done.stderr


def test_a_bundle_is_filmed_and_read_back(request_file: Path, tmp_path: Path) -> None:
    """The words on both sides must be those of the same bytes, whatever carried them."""
    _run("gif", request_file, tmp_path / "request.gif")
    said = json.loads(_run("inspect", tmp_path / "request.gif", "--json", "--out", tmp_path / "read.bundle"))
    data = request_file.read_bytes()
    assert (tmp_path / "read.bundle").read_bytes() == data
    assert said["words"] == list(digest_words(digest(data)))
    assert said["purpose"] == "intermediate-request"
    assert list(said["members"]) == ["request.csr"]
    assert " ".join(said["words"]) in _run("inspect", request_file)


def test_nothing_is_overwritten_or_shown_that_is_not_a_bundle(request_file: Path, tmp_path: Path) -> None:
    """A picture of the wrong file on a screen is read by everybody in the room."""
    assert "file.exists" in _run("gif", request_file, request_file, status=1)
    (tmp_path / "words.txt").write_text("1: academic acid")
    assert "bundle." in _run("gif", tmp_path / "words.txt", tmp_path / "new.gif", status=1)
    assert "bundle." in _run("show", tmp_path / "words.txt", "--once", status=1)
    assert not (tmp_path / "new.gif").exists()


def test_a_bundle_is_shown_in_a_terminal(request_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no image can be opened a terminal still can."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "60")
    assert "frame 1 of" in _run("show", request_file, "--once")
    assert "terminal.missing" in _run("show", request_file, status=1)
