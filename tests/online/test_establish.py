"""``online init``: what it makes, what it refuses, and that a failure leaves nothing."""

from __future__ import annotations

import base64
import dataclasses
import errno
import itertools
import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from fakes.certificates import make_root

from online import establish as module
from online.config import load_config
from online.establish import Established, Wishes, establish
from online.home import Home, load_defaults
from online.jose import jwe
from online.jose.jwk import parse_private_jwk
from online.key_choice import KeyChoice
from online.provisioners.jwk import JwkProvisioner
from online.store.sqlite import open_store
from shared import durable, keys
from shared.crossing import transfer
from shared.crossing.bundle import REQUEST, Purpose, digest
from shared.crossing.words import parse_words
from shared.errors import ColdrootError, RequestRejected, StoreFailed
from shared.keys import KeyKind, fingerprint
from shared.keystore import open_key

ROOT, _ = make_root()
WISHES = Wishes(
    name="Acme",
    dns_names=("localhost", "127.0.0.1"),
    address="127.0.0.1:9000",
    provisioner="admin",
    root=ROOT,
)


def _no_pin(prompt: str) -> bytes:
    raise AssertionError(f"nobody should be asked: {prompt}")


def _init(home: Home, wishes: Wishes = WISHES, *, crossing: Path | None = None) -> Established:
    return establish(home, crossing or home.path.parent / "crossing", wishes, pin=_no_pin)


@pytest.fixture(name="made", scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Established]:
    home = Home(path=tmp_path_factory.mktemp("init") / "new" / "home")
    before = os.umask(0)
    try:
        return home, _init(home)
    finally:
        os.umask(before)


def test_every_file_has_its_place(made: tuple[Home, Established]) -> None:
    """The layout is what step, the documentation and every other command rely on."""
    home, result = made
    found = {str(each.relative_to(home.path)) for each in home.path.rglob("*") if each.is_file()}
    assert found == {
        "config/ca.json",
        "config/defaults.json",
        "certs/root_ca.crt",
        "certs/intermediate_request.bundle",
        "db/coldroot.db",
        "secrets/intermediate_ca_key",
        "secrets/intermediate_password.txt",
        "secrets/provisioner_password.txt",
    }
    assert {home.path / each for each in found} == set(result.files)


def test_secrets_are_private_whatever_the_umask(made: tuple[Home, Established]) -> None:
    """The fixture ran with umask 0: modes that hang on the umask would leave the keys open."""
    home, _ = made
    for each in (home.path / "secrets").iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
    assert stat.S_IMODE(home.database.stat().st_mode) & 0o077 == 0
    for directory in ("secrets", "db", "config", "certs"):
        assert stat.S_IMODE((home.path / directory).stat().st_mode) == 0o700, directory


def test_the_two_passwords_differ_and_open_their_keys(made: tuple[Home, Established]) -> None:
    """One password for both would let whoever runs the node also mint tokens, and the reverse."""
    home, _ = made
    key_password = durable.read_secret(home.intermediate_password)
    provisioner_password = durable.read_secret(home.provisioner_password)
    assert key_password != provisioner_password
    assert min(len(key_password), len(provisioner_password)) >= 43
    config = load_config(home.config)
    with open_key(config.key, lambda _: key_password, base=config.home) as key:
        assert keys.kind_of(key) is KeyKind.EC_P256
    provisioner = config.provisioners[0]
    assert isinstance(provisioner, JwkProvisioner)
    assert provisioner.encrypted_key is not None
    private = parse_private_jwk(jwe.decrypt(provisioner.encrypted_key, provisioner_password))
    assert private.public() == provisioner.key


def test_no_password_is_in_any_other_file(made: tuple[Home, Established]) -> None:
    """A copy of ca.json or of the database must not be worth a key."""
    home, result = made
    secrets = [durable.read_secret(each) for each in (home.intermediate_password, home.provisioner_password)]
    for path in (*home.path.rglob("*"), *result.bundle):
        if path.is_file() and not path.name.endswith("password.txt"):
            assert not any(each in path.read_bytes() for each in secrets), path


def test_the_node_can_read_what_was_written(made: tuple[Home, Established]) -> None:
    """A ca.json that the strict reader refuses would be found out only at the first start."""
    home, result = made
    config = load_config(home.config)
    assert config.dns_names == ("localhost", "127.0.0.1")
    assert (config.address, config.provisioners[0].name) == (("127.0.0.1", 9000), "admin")
    open_store(config.db)
    assert str(result.ca_url) == "https://localhost:9000"
    defaults = load_defaults(home)
    assert (defaults.ca_url, defaults.fingerprint, defaults.root) == (
        "https://localhost:9000",
        fingerprint(ROOT),
        home.root_certificate.absolute(),
    )


def test_the_request_is_for_the_key_and_in_both_media(made: tuple[Home, Established]) -> None:
    """The ceremony reads the images or the file: both must carry the request that this home remembers."""
    home, result = made
    from_file, data = transfer.read_bundle(result.bundle[:1], purpose=Purpose.INTERMEDIATE_REQUEST)
    _, from_images = transfer.read_bundle(result.bundle[1:], purpose=Purpose.INTERMEDIATE_REQUEST)
    assert data == from_images == home.request.read_bytes()
    assert parse_words(result.words) == digest(data)
    csr = x509.load_der_x509_csr(from_file.members[REQUEST])
    assert csr.subject.rfc4514_string() == "CN=Acme Intermediate CA,O=Acme"
    with open_key(str(home.intermediate_key), lambda _: durable.read_secret(home.intermediate_password)) as key:
        assert keys.csr_key(csr) == key.public_key()
    assert not list(csr.extensions)


def test_openssl_opens_the_key(made: tuple[Home, Established]) -> None:
    """An encrypted key that only we can read is a trap for whoever leaves us."""
    home, _ = made
    judged = subprocess.run(
        ["openssl", "pkey", "-in", home.intermediate_key, "-passin", f"file:{home.intermediate_password}", "-noout"],
        check=False,
        capture_output=True,
    )
    assert judged.returncode == 0, judged.stderr


def test_a_hierarchy_is_never_overwritten(made: tuple[Home, Established], tmp_path: Path) -> None:
    """A second init over a running CA would make every certificate of it worthless."""
    home, _ = made
    before = {each: each.read_bytes() for each in home.path.rglob("*") if each.is_file()}
    with pytest.raises(RequestRejected, match="never overwritten"):
        _init(home, crossing=tmp_path / "other")
    assert {each: each.read_bytes() for each in home.path.rglob("*") if each.is_file()} == before
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "name", ["config/ca.json", "certs/root_ca.crt", "secrets/intermediate_ca_key", "db/coldroot.db"]
)
def test_even_a_part_of_one_is_not(tmp_path: Path, name: str) -> None:
    """A home where only one file survived is somebody's remains, not an empty place; a dangling link counts too."""
    home = Home(path=tmp_path / "home")
    (home.path / name).parent.mkdir(parents=True)
    (home.path / name).symlink_to("nowhere")
    with pytest.raises(RequestRejected, match=name):
        _init(home)
    assert [each for each in home.path.rglob("*") if not each.is_dir()] == [home.path / name]


def test_a_second_request_is_not_mixed_into_the_first(made: tuple[Home, Established], tmp_path: Path) -> None:
    """Two nodes with one crossing directory would send one's QR images with the other's file."""
    _, result = made
    home = Home(path=tmp_path / "home")
    with pytest.raises(RequestRejected, match="already exists"):
        _init(home, crossing=result.bundle[0].parent)
    assert not home.path.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": "localhost"},
        {"address": ":99999"},
        {"dns_names": ("not a name",)},
        {"dns_names": ("https://ca.local",)},
        {"name": ""},
        {"name": "a" * 60},
        {"name": "Acme\n"},
        {"provisioner": "x\x1b"},
        {"ca_url": "http://ca.local"},
        {"pinned": "00" * 32},
        {"key_exists": True},
    ],
)
def test_bad_wishes_leave_nothing(tmp_path: Path, wrong: dict[str, object]) -> None:
    """A mistake in the last option must not leave keys and directories of a CA that never was."""
    with pytest.raises(ColdrootError):
        _init(Home(path=tmp_path / "new" / "home"), dataclasses.replace(WISHES, **wrong))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def _failing(*_arguments: object, **_keywords: object) -> None:
    raise StoreFailed("file.write-failed", "no space left")


@pytest.mark.parametrize(("where", "name"), [(module, "create_database"), (durable.Staging, "add")])
def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> None:
    """A full disk half-way must not leave a half-made CA that the next attempt refuses to touch."""
    monkeypatch.setattr(where, name, _failing)
    with pytest.raises(StoreFailed):
        _init(Home(path=tmp_path / "new" / "home"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", range(0, 10, 3))
def test_a_failure_between_two_files_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Even when some files are in place already, the rest of them failing takes all away."""
    left = itertools.count()

    def link(source: Path, target: Path) -> None:
        if next(left) == room:
            raise OSError(errno.ENOSPC, "no space left", str(target))
        real(source, target)

    real = os.link
    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StoreFailed):
        _init(Home(path=tmp_path / "new" / "home"))
    assert list(tmp_path.iterdir()) == []


def test_a_crossing_directory_that_was_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking back what was made must not take what was not ours."""
    crossing = tmp_path / "usb"
    crossing.mkdir()
    (crossing / "letter.txt").write_text("hello")
    monkeypatch.setattr(module, "create_database", _failing)
    with pytest.raises(StoreFailed):
        _init(Home(path=tmp_path / "home"), crossing=crossing)
    assert [each.name for each in crossing.iterdir()] == ["letter.txt"]


def test_own_passwords_are_used_and_not_written(tmp_path: Path) -> None:
    """An operator with a vault wants no second copy on the disk."""
    home = Home(path=tmp_path / "home")
    _init(home, dataclasses.replace(WISHES, key_password=b"one", provisioner_password=b"two"))
    assert [each.name for each in (home.path / "secrets").iterdir()] == ["intermediate_ca_key"]
    with open_key(str(home.intermediate_key), lambda _: b"one"):
        pass
    entry = json.loads(home.config.read_text())["authority"]["provisioners"][0]
    assert jwe.decrypt(entry["encryptedKey"], b"two")


def test_without_a_root_nothing_is_pinned_yet(tmp_path: Path) -> None:
    """A fingerprint made up at this point would be believed by import."""
    home = Home(path=tmp_path / "home")
    _init(home, dataclasses.replace(WISHES, root=None, address=":443"))
    defaults = load_defaults(home)
    assert (defaults.fingerprint, defaults.root, defaults.ca_url) == (None, None, "https://localhost")
    assert not home.root_certificate.exists()


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        (KeyChoice(kind=KeyKind.RSA, rsa_bits=2048), KeyKind.RSA),
        (KeyChoice(kind=KeyKind.ED25519), KeyKind.ED25519),
        (KeyChoice(kind=KeyKind.EC_P384), KeyKind.EC_P384),
    ],
)
def test_other_kinds_of_key(tmp_path: Path, choice: KeyChoice, kind: KeyKind) -> None:
    """Every accepted kind must come as far as a signed request."""
    home = Home(path=tmp_path / "home")
    result = _init(home, dataclasses.replace(WISHES, key=choice))
    found, _ = transfer.read_bundle(result.bundle[:1], purpose=Purpose.INTERMEDIATE_REQUEST)
    assert keys.kind_of(keys.csr_key(x509.load_der_x509_csr(found.members[REQUEST]))) is kind


def test_drawn_passwords_have_full_strength(tmp_path: Path) -> None:
    """The provisioner's encrypted key is public: 256 bits of the generator must be in its password."""
    drawn: list[bytes] = []

    def rng(size: int) -> bytes:
        drawn.append(os.urandom(size))
        return drawn[-1]

    home = Home(path=tmp_path / "home")
    make: Callable[..., Established] = establish
    make(home, tmp_path / "crossing", WISHES, pin=_no_pin, rng=rng)
    for file in (home.intermediate_password, home.provisioner_password):
        text = durable.read_secret(file)
        assert base64.urlsafe_b64decode(text + b"=") in [each for each in drawn if len(each) == 32]
