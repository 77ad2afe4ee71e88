"""Files of pairs: strict, safe to run, and complete before anything begins."""

from __future__ import annotations

import os
import re
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.step_ca import FakeCa

from online.renewal.pair import Pair
from online.renewal.pair_files import load_pairs, parse_pair
from shared import keys
from shared.errors import ColdrootError, RequestRejected
from shared.keys import KeyKind

FULL = """
certificate = "foo.crt"
key = "/keys/foo.key"
password_file = "pw"
expires_in = "8h"
mtls = false
rekey = true
ca_url = "https://ca.acme.local"
root = "root.crt"
combined = "foo.pem"
p12 = "foo.p12"
p12_password_file = "p12.pw"
exec = [["systemctl", "reload", "nginx"], ["true"]]
exec_shell = ["echo done"]
exec_timeout = "30s"
exec_retries = 2
pid_file = "/run/nginx.pid"
signal = "USR1"
"""
SHORT = 'certificate = "foo.crt"\nkey = "foo.key"\n'


def test_everything_can_be_said() -> None:
    """What the command line offers for one pair, a file must offer for each of many."""
    pair = parse_pair(FULL, name="foo", base=Path("/etc/pairs"))
    assert pair.certificate == Path("/etc/pairs/foo.crt")
    assert pair.key == "/keys/foo.key"
    assert pair.key_file == Path("/keys/foo.key")
    assert (pair.mtls, pair.rekey, pair.expires_in) == (False, True, "8h")
    assert pair.hooks.commands == (("systemctl", "reload", "nginx"), ("true",), ("/bin/sh", "-c", "echo done"))
    assert (pair.hooks.timeout, pair.hooks.retries) == (timedelta(seconds=30), 2)
    assert pair.hooks.signal.name == "SIGUSR1"
    assert pair.outputs.combined == Path("/etc/pairs/foo.pem")
    assert pair.ca_url == "https://ca.acme.local"


def test_little_needs_to_be_said() -> None:
    """Two lines are enough for the usual case."""
    pair = parse_pair(SHORT + 'exec = ["systemctl", "reload", "nginx"]\n', name="foo", base=Path("/e"))
    assert pair.key == "/e/foo.key"
    assert pair.mtls
    assert pair.hooks.commands == (("systemctl", "reload", "nginx"),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is missing"),
        ("certificate = 1\nkey = 'k'", "certificate must be text"),
        (SHORT + "exce = ['x']", "did you mean exec"),
        (SHORT + "exec = 'systemctl reload nginx'", "exec must be a list"),
        (SHORT + "exec = [[]]", "exec"),
        (SHORT + "exec = [['a', 1]]", "exec"),
        (SHORT + "exec_shell = [1]", "exec_shell"),
        (SHORT + "mtls = 1", "mtls"),
        (SHORT + "signal = 'HOP'", "signal"),
        (SHORT + "exec_timeout = '30'", "exec_timeout"),
        (SHORT + "exec_retries = true", "exec_retries"),
        (SHORT + "p12 = 'a.p12'", "password"),
        (SHORT + "combined = 'foo.key'", "different files"),
        (SHORT + "expires_in = '8h'\nrenew_period = '8h'", "contradict"),
        (SHORT + "expires_in = '8 hours'", "not a duration"),
        (SHORT + "renew_period = '1s'", "shorter than a minute"),
        ("certificate = 'a'\nkey = 'pkcs11:module-name=x;object=y'\nrekey = true", "HSM"),
        ("certificate = 'a", "TOML"),
    ],
)
def test_half_said_is_refused(text: str, told: str) -> None:
    """A typing error that becomes a default is found weeks later, when the certificate has expired."""
    with pytest.raises(ColdrootError) as refusal:
        parse_pair(text, name="foo", base=Path("/e"))
    assert told in f"{refusal.value.message} {refusal.value.hint}"


def _directory(tmp_path: Path, **files: str) -> Path:
    directory = tmp_path / "pairs"
    directory.mkdir()
    for name, text in files.items():
        (directory / f"{name}.toml").write_text(text)
    return directory


def test_a_directory_is_read_whole(tmp_path: Path) -> None:
    """Editors leave files behind, and an order that changes would make two logs hard to compare."""
    directory = _directory(tmp_path, b=SHORT.replace("foo", "b"), a=SHORT.replace("foo", "a"))
    for other in (".hidden.toml", "a.toml.bak", "README"):
        (directory / other).write_text("nonsense")
    assert [pair.name for pair in load_pairs(directory)] == ["a", "b"]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    """Of fifty files the one must be found."""
    directory = _directory(tmp_path, a=SHORT, b="nonsense")
    with pytest.raises(RequestRejected, match=r"b\.toml"):
        load_pairs(directory)


def test_two_files_for_one_certificate_are_refused(tmp_path: Path) -> None:
    """Both would renew it, and tell different servers."""
    with pytest.raises(RequestRejected, match="same certificate"):
        load_pairs(_directory(tmp_path, a=SHORT, b=SHORT))


def test_no_files_is_a_mistake(tmp_path: Path) -> None:
    """An agent that keeps nothing because of a mistyped path looks as if all were well."""
    with pytest.raises(RequestRejected, match=r"no \.toml"):
        load_pairs(_directory(tmp_path))
    with pytest.raises(RequestRejected, match="cannot be read"):
        load_pairs(tmp_path / "missing")


@pytest.mark.parametrize("what", ["directory", "file"])
def test_what_others_may_write_is_not_run(tmp_path: Path, what: str) -> None:
    """The agent runs as root: whoever may write the file would be root, too."""
    directory = _directory(tmp_path, a=SHORT)
    (directory if what == "directory" else directory / "a.toml").chmod(0o777)
    with pytest.raises(RequestRejected, match="may be written by others"):
        load_pairs(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_stranger_s_file_is_not_run(tmp_path: Path) -> None:
    """The same, for a file that belongs to somebody else."""
    directory = _directory(tmp_path, a=SHORT)
    os.chown(directory / "a.toml", 12345, 0)
    with pytest.raises(RequestRejected, match="may be written by others"):
        load_pairs(directory)


def test_a_pair_s_schedule() -> None:
    """Each way to say when leads to the moment that it says."""
    leaf = FakeCa().leaf(keys.generate(KeyKind.EC_P256).public_key(), "foo.local")[0]
    begin, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()

    def due(**said: object) -> float:
        pair = Pair(name="x", certificate=Path("c"), key="k", **said)  # type: ignore[arg-type]
        return pair.due_at(leaf, now=begin, chance=0.0)

    assert due() == pytest.approx(end - 8 * 3600)
    assert due(expires_in="25%") == pytest.approx(end - 6 * 3600)
    assert due(period=timedelta(hours=2)) == pytest.approx(begin + 2 * 3600)
    with pytest.raises(RequestRejected):
        due(period=timedelta(hours=24))
    with pytest.raises(RequestRejected):
        due(expires_in="25h")


def test_the_file_in_the_documentation_is_one() -> None:
    """It is what people copy; a key that was renamed there or here would be refused."""
    text = (Path(__file__).parents[2] / "docs" / "renewal.md").read_text()
    (block,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    pair = parse_pair(block, name="foo", base=Path("/e"))
    assert pair.hooks.commands[0] == ("systemctl", "reload", "nginx")
    assert set(tomllib.loads(FULL)) | {"renew_period"} >= set(tomllib.loads(block))
