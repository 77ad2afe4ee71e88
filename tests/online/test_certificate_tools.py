"""verify, needs-renewal, fingerprint, and the certificates of servers: by the command line, and step's spelling."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import click
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.place import DAY, Place, serving_place
from fakes.ports import free_port
from fakes.step_ca import FakeCa

from online import peer_chain
from online.home import Home
from online.peer_chain import TlsAddress, fetch_chain, parse_tls_address
from online.renewal.threshold import DEFAULT, Threshold, parse_threshold
from online.trust_anchors import load_roots
from shared import keys
from shared.errors import PeerFailed, RequestRejected
from shared.keys import KeyKind, fingerprint
from shared.pem import certificate_pem, load_certificates


@pytest.fixture(name="place", scope="module")
def _place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with serving_place(tmp_path_factory.mktemp("place")) as place:
        yield place


# verify


def test_verify_says_yes_in_silence_in_words_and_in_json(place: Place) -> None:
    """A script reads the exit status, a person the path."""
    arguments = ("verify", place.path("foo.crt"), "--roots", place.path("root.crt"))
    silent = place.run(*arguments, "--host", "foo.local")
    assert (silent.exit_code, silent.output) == (0, "")
    words = place.run(*arguments, "--verbose", "--host", "10.0.0.7")
    assert words.stdout.splitlines()[-1].startswith(fingerprint(place.ca.root))
    shown = json.loads(place.run(*arguments, "--json").stdout)
    assert shown["valid"] is True
    assert [each["fingerprint"] for each in shown["path"]][1:] == [
        fingerprint(place.ca.intermediate),
        fingerprint(place.ca.root),
    ]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("foo.crt", "--roots", "other.crt"), "path.unknown-issuer"),
        (("foo.crt", "--roots", "root.crt", "--host", "bar.local"), "path.host"),
        (("none.crt", "--roots", "root.crt"), "file.missing"),
        (("foo.crt", "--roots", "none.crt"), "file.missing"),
        (("foo.crt", "--roots", "password"), "roots.none"),
        (("foo.key", "--roots", "root.crt"), "pem.foreign"),
        (("foo.crt",), "path.unknown-issuer"),
    ],
)
def test_verify_says_no_on_stderr(place: Place, arguments: tuple[str, ...], code: str) -> None:
    """Nothing on stdout may look like a yes, and the line must say what is wrong."""
    paths = [place.path(each) if each.endswith((".crt", ".key", "word")) else each for each in arguments]
    result = place.run("verify", *paths)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"[{code}]" in result.stderr


def test_verify_without_roots_takes_the_homes(place: Place) -> None:
    """On a machine that was bootstrapped, the CA's own root is the natural question."""
    home = Home(path=place.directory / "bootstrapped")
    home.root_certificate.parent.mkdir(parents=True)
    home.root_certificate.write_bytes(certificate_pem(place.ca.root))
    assert place.run("verify", place.path("foo.crt"), "--home", str(home.path)).exit_code == 0


def test_verify_reads_stdin_and_der(place: Place) -> None:
    """A pipe from another program has no file name."""
    roots = ("--roots", place.path("root.crt"))
    content = (place.directory / "foo.crt").read_bytes()
    assert place.run("verify", "-", *roots, stdin=content).exit_code == 0
    # Without the intermediate, which DER cannot carry.
    result = place.run("verify", "-", *roots, stdin=load_certificates(content)[0].public_bytes(Encoding.DER))
    assert "[path.unknown-issuer]" in result.stderr


# Roots


def test_roots_of_files_lists_and_folders(tmp_path: Path) -> None:
    """--roots is step's: a file, files with commas between, a folder with other things in it."""
    one, two = FakeCa().root, FakeCa().root
    home = Home(path=tmp_path / "home")
    (tmp_path / "both.pem").write_bytes(b"# two roots\n" + certificate_pem(one, two))
    (tmp_path / "one.pem").write_bytes(certificate_pem(one))
    (tmp_path / "two.der").write_bytes(two.public_bytes(Encoding.DER))
    assert load_roots(str(tmp_path / "both.pem"), home) == (one, two)
    assert load_roots(f"{tmp_path / 'one.pem'},{tmp_path / 'two.der'}", home) == (one, two)
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "a.pem").write_bytes(certificate_pem(two))
    (folder / "b.txt").write_bytes(b"no certificate")
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (folder / "c.pem").write_bytes(broken)
    os.mkfifo(folder / "d.pipe")
    assert load_roots(str(folder), home) == (two,)
    (tmp_path / "broken.pem").write_bytes(certificate_pem(one) + broken)
    with pytest.raises(RequestRejected) as caught:
        load_roots(str(tmp_path / "broken.pem"), home)
    assert caught.value.code == "certificate.malformed"


def test_roots_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a home, a public server is judged by what the operating system trusts."""
    root = FakeCa().root
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(certificate_pem(root))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert load_roots(None, Home(path=tmp_path / "home")) == (root,)
    bundle.write_bytes(b"")
    with pytest.raises(RequestRejected) as caught:
        load_roots(None, Home(path=tmp_path / "home"))
    assert caught.value.code == "roots.none"


# needs-renewal


@pytest.mark.parametrize(
    ("passed", "options", "status"),
    [
        (Fraction(65, 100), (), 1),
        (Fraction(67, 100), (), 0),
        (Fraction(3, 2), (), 0),
        (Fraction(74, 100), ("--expires-in", "75%"), 1),
        (Fraction(76, 100), ("--expires-in", "75%"), 0),
        (Fraction(1, 100), ("--expires-in", "0%"), 0),
        (Fraction(99, 100), ("--expires-in", "100%"), 1),
        (Fraction(1, 2), ("--expires-in", "11h"), 1),
        (Fraction(1, 2), ("--expires-in", "13h"), 0),
        (Fraction(1, 2), ("--expires-in", "0s"), 1),
        (Fraction(3, 2), ("--expires-in", "0s"), 0),
    ],
)
def test_needs_renewal_answers_by_status(place: Place, passed: Fraction, options: tuple[str, ...], status: int) -> None:
    """0 yes, 1 no, as in step: timers and shell scripts read nothing else."""
    crt = place.leaf("age.crt", begin=(datetime.now(UTC) - DAY * float(passed)).replace(microsecond=0))
    result = place.run("needs-renewal", crt, *options)
    assert (result.exit_code, result.output) == (status, "")
    words = place.run("needs-renewal", crt, *options, "--verbose")
    assert ("does not need renewal" in words.stderr) is (status == 1)


def test_needs_renewal_says_no_as_it_is_asked_to(place: Place) -> None:
    """1 is also what a crashed Python answers: a timer that cannot tell them apart stops renewing in silence."""
    fresh = place.leaf("fresh.crt", begin=datetime.now(UTC).replace(microsecond=0))
    old = place.leaf("old.crt", begin=(datetime.now(UTC) - DAY * 0.9).replace(microsecond=0))
    assert place.run("needs-renewal", fresh, "--not-due-status", "75").exit_code == 75
    assert place.run("needs-renewal", old, "--not-due-status", "75").exit_code == 0
    for bad in ("0", "255", "x"):
        assert place.run("needs-renewal", fresh, "--not-due-status", bad).exit_code == 255


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("none.crt",), 2),
        (("foo.key",), 255),
        ((".",), 255),
        (("foo.crt", "--expires-in", "soon"), 255),
        (("foo.crt", "--expires-in", "101%"), 255),
        (("foo.crt", "--expires-in", "1.5%"), 255),
        (("foo.crt", "--bogus"), 255),
        ((), 255),
        (("foo.crt", "foo.crt"), 255),
        (("https://127.0.0.1:1",), 255),
    ],
)
def test_needs_renewal_never_takes_a_failure_for_an_answer(
    place: Place, arguments: tuple[str, ...], status: int
) -> None:
    """1 means "no need": an error with that status would stop all renewals without a word."""
    paths = [place.path(each) if each.endswith((".crt", ".key", ".")) else each for each in arguments]
    result = place.run("needs-renewal", *paths)
    assert result.exit_code == status
    assert result.stderr


def test_the_fingerprint_of_a_chain_is_that_of_its_leaf(place: Place) -> None:
    """What online certificate writes has the intermediate, too; as with step, the first certificate is meant."""
    leaf, intermediate = load_certificates(Path(place.path("foo.crt")).read_bytes())
    assert place.run("fingerprint", place.path("foo.crt")).stdout.split() == [fingerprint(leaf)]
    both = place.run("fingerprint", place.path("foo.crt"), "--bundle").stdout.split()
    assert both == [fingerprint(leaf), fingerprint(intermediate)]
    shown = place.run("fingerprint", place.path("foo.crt"), "--json").stdout
    assert json.loads(shown) == {"fingerprint": fingerprint(leaf)}


@pytest.mark.parametrize(
    ("bug", "status"), [(ZeroDivisionError(), 255), (click.UsageError("no"), 255), (KeyboardInterrupt(), 130)]
)
def test_needs_renewal_survives_our_own_bugs(
    place: Place, monkeypatch: pytest.MonkeyPatch, bug: BaseException, status: int
) -> None:
    """An exception nobody thought of must be 255 as well, and nobody who presses Ctrl-C says "no need"."""

    def explode(*_: object) -> bool:
        raise bug

    monkeypatch.delenv("COLDROOT_DEBUG", raising=False)
    monkeypatch.setattr(Threshold, "reached", explode)
    result = place.run("needs-renewal", place.path("foo.crt"))
    assert result.exit_code == status
    assert ("ZeroDivisionError" in result.stderr) is isinstance(bug, ZeroDivisionError)


def test_needs_renewal_of_a_whole_bundle(place: Place) -> None:
    """--bundle asks for every certificate; without it the leaf alone decides."""
    both = place.directory / "both.crt"
    fresh = load_certificates(Path(place.leaf("fresh.crt")).read_bytes())
    old = load_certificates(Path(place.leaf("old.crt", begin=datetime.now(UTC) - 2 * DAY)).read_bytes())
    both.write_bytes(certificate_pem(fresh[0], old[0]))
    assert place.run("needs-renewal", str(both)).exit_code == 1
    assert place.run("needs-renewal", str(both), "--bundle").exit_code == 0


def test_the_threshold_is_exact() -> None:
    """At the very second it is due; floating point must not decide."""
    assert parse_threshold("66%") == DEFAULT
    ca = FakeCa()
    begin = (datetime.now(UTC) - DAY).replace(microsecond=0)
    leaf = ca.leaf(keys.generate(KeyKind.EC_P256).public_key(), "a", begin=begin, life=timedelta(seconds=100))[0]
    last = leaf.not_valid_after_utc
    assert DEFAULT.reached(leaf, begin + (last - begin) * 66 / 100 + timedelta(seconds=1))
    assert not DEFAULT.reached(leaf, begin + timedelta(seconds=65))
    assert parse_threshold("10s").reached(leaf, last - timedelta(seconds=10))
    assert not parse_threshold("10s").reached(leaf, last - timedelta(seconds=11))


# Servers


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://a.example", TlsAddress(host="a.example", port=443)),
        ("HTTPS://a.example:9000/x", TlsAddress(host="a.example", port=9000)),
        ("tls://[::1]:9000", TlsAddress(host="::1", port=9000)),
        ("smtps://a.example", TlsAddress(host="a.example", port=465)),
        ("ldaps://a.example", TlsAddress(host="a.example", port=636)),
        ("foo.crt", None),
        ("./https://x", None),
        ("/a/b:c", None),
    ],
)
def test_addresses(text: str, address: TlsAddress | None) -> None:
    """A path must stay a path, an address an address."""
    assert parse_tls_address(text) == address


@pytest.mark.parametrize(
    "text", ["http://a.example", "https://", "https://a:b", "https://u@a", "https://a b", "ftp://a"]
)
def test_addresses_that_are_none(text: str) -> None:
    """Plain http shows no certificate; a typing error must not become a file name."""
    with pytest.raises(RequestRejected) as caught:
        parse_tls_address(text)
    assert caught.value.code == "tls-address.malformed"


def test_inspect_and_fingerprint_of_a_server(place: Place) -> None:
    """The page inspects https:// addresses; the server is verified on the way."""
    roots = ("--roots", place.path("root.crt"))
    shown = place.run("inspect", place.ca.url, *roots, "--format", "json", "--bundle")
    assert shown.exit_code == 0, shown.stderr
    assert [each["subject_dn"] for each in json.loads(shown.stdout)] == [
        "CN=localhost",
        "O=Test, CN=Test Intermediate CA",
    ]
    one = json.loads(place.run("inspect", place.ca.url, *roots, "--json").stdout)
    prints = place.run("fingerprint", place.ca.url, *roots)
    assert prints.stdout.strip() == one["fingerprint_sha256"]
    assert len(place.run("fingerprint", place.ca.url, *roots, "--bundle").stdout.split()) == 2
    pem = place.run("inspect", place.ca.url, *roots, "--format", "pem").stdout
    assert fingerprint(load_certificates(pem.encode())[0]) == one["fingerprint_sha256"]
    assert place.run("verify", place.ca.url, *roots, "--host", "localhost").exit_code == 0
    assert place.run("needs-renewal", place.ca.url, *roots).exit_code == 1


def test_a_server_that_is_not_trusted_is_shown_only_if_asked(place: Place) -> None:
    """Without verification anybody on the way could answer; --insecure is the word for looking all the same."""
    for arguments, code in (
        (("--roots", place.path("other.crt")), "path.unknown-issuer"),
        (("--roots", place.path("root.crt"), "--servername", "foo.local"), "path.host"),
    ):
        result = place.run("inspect", place.ca.url, *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"[{code}]" in result.stderr
        assert place.run("inspect", place.ca.url, *arguments, "--insecure").exit_code == 0
    assert place.run("verify", place.ca.url, "--insecure").exit_code == 2


def test_an_expired_server_needs_renewal(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one certificate that needs renewal most must not be the one that cannot be judged."""
    key = keys.generate(KeyKind.EC_P256)
    old = place.ca.leaf(key.public_key(), "127.0.0.1", begin=datetime.now(UTC) - 2 * DAY)
    monkeypatch.setattr("online.cli.certificate_source.fetch_chain", lambda *_, **__: old)
    roots = ("--roots", place.path("root.crt"))
    assert place.run("needs-renewal", place.ca.url, *roots).exit_code == 0
    assert "[path.expired]" in place.run("verify", place.ca.url, *roots).stderr


def test_local_files_are_not_verified_by_inspect(place: Place) -> None:
    """The page's timer passes --roots with a file: an expired certificate must be read, or it is never renewed."""
    old = place.leaf("expired.crt", begin=datetime.now(UTC) - 2 * DAY)
    result = place.run("inspect", old, "--format", "json", "--roots", place.path("other.crt"))
    assert result.exit_code == 0
    if shutil.which("jq"):
        begin, end = "(.validity.start | fromdate)", "(.validity.end | fromdate)"
        rule = f"(({begin} + ({end} - {begin}) * 0.66) - now) <= 0"
        judged = subprocess.run(["jq", "-e", rule], input=result.stdout, text=True, capture_output=True, check=False)
        assert (judged.returncode, judged.stdout) == (0, "true\n")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_servers_that_speak_no_tls(answer: bytes) -> None:
    """Plain text, silence and an alert must each end in one line, soon."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(PeerFailed) as caught:
            fetch_chain(TlsAddress(host="127.0.0.1", port=listener.getsockname()[1]))
        thread.join()
    assert caught.value.code in {"tls.handshake", "tls.unreachable"}


def test_servers_that_are_silent_or_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that hangs in a timer is never seen."""
    monkeypatch.setattr(peer_chain, "_TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = TlsAddress(host="127.0.0.1", port=listener.getsockname()[1])
        with pytest.raises(PeerFailed, match="in time"):
            fetch_chain(address)
    with pytest.raises(PeerFailed, match="cannot be reached"):
        fetch_chain(TlsAddress(host="127.0.0.1", port=free_port()))


# step's spelling


def test_steps_spelling_of_the_tools(place: Place) -> None:
    """Hands and scripts that say "certificate inspect" must get the same answer."""
    crt, roots = place.path("foo.crt"), ("--roots", place.path("root.crt"))
    for line in (
        ("inspect", "--short", crt),
        ("inspect", crt, "--format", "json", *roots),
        ("fingerprint", crt, "--bundle"),
        ("verify", crt, "-v", *roots),
        ("needs-renewal", crt, "-v"),
        ("needs-renewal", "none.crt"),
        ("needs-renewal", crt, "--bogus"),
        ("verify", crt, "--roots", place.path("other.crt")),
    ):
        short, long = place.run(*line), place.run("certificate", *line)
        assert (short.exit_code, short.stdout) == (long.exit_code, long.stdout)
        assert "Missing" not in long.stderr
    assert "online p12" in place.run("certificate", "p12", "--help").stdout


def test_a_host_may_be_called_like_a_tool(place: Place, tmp_path: Path) -> None:
    """SUBJECT CRT KEY is a request whatever the subject is."""
    pair = (str(tmp_path / "a.crt"), str(tmp_path / "a.key"))
    result = place.run("certificate", "verify", *pair, "--token", place.token("verify"))
    assert result.exit_code == 0, result.stderr
    assert _common(load_certificates((tmp_path / "a.crt").read_bytes())[0]) == "verify"
    wrong = place.run("certificate", "foo.local")
    assert wrong.exit_code == 2
    assert "SUBJECT CRT KEY" in wrong.stderr


def _common(certificate: x509.Certificate) -> object:
    return next(iter(certificate.subject)).value
