"""Files that must be private: refused on every path into the program when group or others may read them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes.hierarchy import make_pki
from fakes.node import KEY_PASSWORD, PROVISIONER_PASSWORD, NodeHome, make_home
from fakes.softhsm import SoftHsm, needs_softhsm, softhsm_fixture  # noqa: F401 (pytest finds the fixture)

from online.cli import cli
from online.config import load_config
from online.enrol import make_csr
from online.jose.jwk import PrivateJwk
from shared import durable
from shared.errors import RequestRejected
from shared.keys import KeyKind, generate
from shared.keystore import open_key, private_key_pem
from shared.pem import certificate_pem


@dataclass(frozen=True, kw_only=True)
class Files:
    """A home, and one private file of each kind."""

    home: NodeHome
    directory: Path

    def __getitem__(self, name: str) -> str:
        return str(self.directory / name)

    def expose(self, name: str, mode: int) -> None:
        """Let others have a look."""
        (self.directory / name).chmod(mode)


@pytest.fixture(name="original", scope="module")
def _original(tmp_path_factory: pytest.TempPathFactory) -> Files:
    home = make_home(tmp_path_factory.mktemp("node") / "home", pki=make_pki(now=datetime.now(UTC)))
    directory = tmp_path_factory.mktemp("files")
    key = generate(KeyKind.EC_P256)
    content = {
        "plain.key": private_key_pem(key, None),
        "old.key": key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        "locked.key": private_key_pem(key, b"secret"),
        "jwk.json": PrivateJwk.of(key).to_json_bytes(),
        "password": PROVISIONER_PASSWORD,
        "key-password": KEY_PASSWORD,
        "pin": b"1234",
        "leaf.crt": certificate_pem(home.pki.intermediate),
        "a.csr": make_csr(key, "a.local", ["a.local"]).public_bytes(Encoding.PEM),
    }
    for name, data in content.items():
        durable.write_new(directory / name, data, mode=0o600)
    return Files(home=home, directory=directory)


@pytest.fixture(name="files")
def _files(original: Files, tmp_path: Path) -> Files:
    return Files(home=original.home, directory=Path(shutil.copytree(original.directory, tmp_path / "files")))


_ISSUED = ("--iss", "admin", "--aud", "https://ca/1.0/sign")
Line = Callable[[Files], list[str]]
# The file that is exposed, and a command line that reads it.
_LINES: dict[str, tuple[str, Line]] = {
    "init --password-file": ("password", lambda f: [*_init(f), "--password-file", f["password"]]),
    "init --provisioner-password-file": ("pin", lambda f: [*_init(f), "--provisioner-password-file", f["pin"]]),
    "serve --password-file": ("key-password", lambda f: ["serve", "--password-file", f["key-password"]]),
    "token --password-file": ("password", lambda f: [*_token(f), "--password-file", f["password"]]),
    "token --key": ("plain.key", lambda f: [*_token(f), "--key", f["plain.key"], "--issuer", "admin"]),
    "token --key jwk": ("jwk.json", lambda f: [*_token(f), "--key", f["jwk.json"], "--issuer", "admin"]),
    "token --x5c-key": ("plain.key", lambda f: [*_token(f), "--x5c-cert", f["leaf.crt"], "--x5c-key", f["plain.key"]]),
    "revoke --key": ("plain.key", lambda f: [*_revoke(f), "--key", f["plain.key"]]),
    "revoke --key-password-file": (
        "pin", lambda f: [*_revoke(f), "--key", f["locked.key"], "--key-password-file", f["pin"]],
    ),
    "change-pass": ("old.key", lambda f: ["change-pass", f["old.key"], "--new-password-file", f["pin"]]),
    "change-pass --password-file": (
        "pin", lambda f: ["change-pass", f["locked.key"], "--password-file", f["pin"], "--no-password", "--insecure"],
    ),
    "change-pass --new-password-file": (
        "pin", lambda f: ["change-pass", f["plain.key"], "--new-password-file", f["pin"]],
    ),
    "renew": ("plain.key", lambda f: ["renew", "--force", f["leaf.crt"], f["plain.key"], *_nowhere(f)]),
    "rekey": ("plain.key", lambda f: ["rekey", "--force", f["leaf.crt"], f["plain.key"], *_nowhere(f)]),
    "p12": ("plain.key", lambda f: ["p12", f["out.p12"], f["leaf.crt"], f["plain.key"], "--password-file", f["pin"]]),
    "p12 --password-file": (
        "pin", lambda f: ["p12", f["out.p12"], f["leaf.crt"], f["plain.key"], "--password-file", f["pin"]],
    ),
    "jwt verify --key": ("plain.key", lambda f: ["jwt", "verify", "--key", f["plain.key"], *_ISSUED]),
    "jwt verify --key jwk": ("jwk.json", lambda f: ["jwt", "verify", "--key", f["jwk.json"], *_ISSUED]),
    "provisioner add --private-key": (
        "plain.key", lambda f: ["provisioner", "add", "x", "--private-key", f["plain.key"]],
    ),
    "provisioner add --password-file": (
        "password", lambda f: ["provisioner", "add", "x", "--password-file", f["password"]],
    ),
    "provisioner add --public-key": (
        "jwk.json", lambda f: ["provisioner", "add", "x", "--public-key", f["jwk.json"]],
    ),
}  # fmt: skip


def _init(files: Files) -> list[str]:
    names = ["--name", "A", "--dns", "localhost", "--address", ":0", "--crossing", files["crossing"]]
    return ["init", "--home", files["new-home"], *names]


def _token(files: Files) -> list[str]:
    where = ["--ca-url", "https://127.0.0.1:9", "--root", str(files.home.root)]
    return ["token", "a.local", "--offline", *where, "--provisioner", "admin"]


def _revoke(files: Files) -> list[str]:
    return ["revoke", "--cert", files["leaf.crt"], "--offline"]


def _nowhere(files: Files) -> list[str]:
    return ["--ca-url", "https://127.0.0.1:9", "--root", str(files.home.root)]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620], ids=oct)
@pytest.mark.parametrize("line", _LINES)
def test_refused_by_every_command(files: Files, line: str, mode: int) -> None:
    """A secret that a backup group or any user can read is no secret; the first command that meets it must say so."""
    name, arguments = _LINES[line]
    files.expose(name, mode)
    before = {each.name: each.read_bytes() for each in files.directory.iterdir()}
    environment = {"COLDROOT_HOME": str(files.home.path)}
    done = CliRunner().invoke(cli, arguments(files), env=environment, input="a.b.c")
    assert "[file.exposed]" in done.output, done.output
    assert done.exit_code == 1
    assert f"chmod 600 {files[name]}" in done.output
    assert {each.name: each.read_bytes() for each in files.directory.iterdir()} == before


def test_a_configuration_with_a_password(files: Files, tmp_path: Path) -> None:
    """ca.json may be read by anybody until a password stands in it."""
    document = json.loads(files.home.config.read_text())
    config = tmp_path / "ca.json"
    config.write_text(json.dumps(document))
    config.chmod(0o644)
    assert load_config(config).password is None
    config.write_text(json.dumps({**document, "password": "in here"}))
    with pytest.raises(RequestRejected, match="can be read by others"):
        load_config(config)
    config.chmod(0o600)
    assert load_config(config).password == "in here"


@needs_softhsm
def test_the_file_of_a_pin(files: Files, softhsm: SoftHsm) -> None:
    """A PIN in a file that everybody can read is everybody's HSM."""
    softhsm.token("node")
    files.expose("pin", 0o644)
    uri = f"pkcs11:token=node;object=a?module-path={softhsm.path}&pin-source=file:{files['pin']}"
    with pytest.raises(RequestRejected, match="can be read by others"), open_key(uri, lambda _: b""):
        pass


def test_what_the_node_writes_is_private_whatever_the_umask(files: Files) -> None:
    """Nothing would be refused if we made the files wrong ourselves; and a umask of 000 is somebody's default."""
    before = os.umask(0)
    try:
        done = CliRunner().invoke(cli, _init(files))
    finally:
        os.umask(before)
    assert done.exit_code == 0, done.output
    secrets = [*(files.directory / "new-home" / "secrets").iterdir()]
    assert len(secrets) == 3
    assert {each.stat().st_mode & 0o777 for each in secrets} == {0o600}
    assert (files.directory / "new-home" / "secrets").stat().st_mode & 0o777 == 0o700
