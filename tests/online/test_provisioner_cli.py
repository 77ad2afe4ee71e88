"""``online provisioner add|update|remove`` and ``online config check`` on a node's real home; and the node's reload."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes.node import KEY_PASSWORD, PROVISIONER_PASSWORD, NodeHome, make_home

from online.cli import cli
from online.config import load_config
from online.jose import jwe
from online.jose.jwk import PrivateJwk, parse_private_jwk
from online.pidfile import pid_file, reload_node
from shared.errors import NotFound, RequestRejected
from shared.keys import KeyKind, generate
from shared.keystore import private_key_pem
from shared.pem import certificate_pem


@pytest.fixture
def home(tmp_path: Path) -> NodeHome:
    """A node's home, its ca.json written as online init writes it."""
    made = make_home(tmp_path / "home")
    made.config.write_text(json.dumps(json.loads(made.config.read_text()), indent="\t") + "\n")
    return made


def run(home: NodeHome, *arguments: str, status: int = 0) -> Result:
    """Run a command on the home."""
    result = CliRunner().invoke(cli, [*arguments, "--home", str(home.path)])
    assert result.exit_code == status, f"{arguments}: {result.output} {result.exception}"
    return result


def entries(home: NodeHome) -> dict[str, Any]:
    """Return the provisioners of ca.json by name."""
    document = json.loads(home.config.read_text())
    return {each["name"]: each for each in document["authority"]["provisioners"]}


def test_a_new_key_with_a_password_of_its_own(home: NodeHome) -> None:
    """Without this, a provisioner would be made whose key nobody can use, or whose password everybody can read."""
    before = home.config.read_text()
    result = run(home, "provisioner", "add", "web", "--x509-max-dur", "168h", "--disable-renewal")
    entry = entries(home)["web"]
    assert entry["claims"] == {"maxTLSCertDuration": "168h0m0s", "disableRenewal": True}
    file = home.path / "secrets" / "provisioner_password_web.txt"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    password = file.read_bytes().strip()
    assert len(password) == 43
    assert password.decode() not in result.output
    assert parse_private_jwk(jwe.decrypt(entry["encryptedKey"], password)).kid == entry["key"]["kid"]
    assert json.loads(jwe_header(entry["encryptedKey"]))["p2c"] == 600_000
    # Everything else is as it was.
    run(home, "provisioner", "remove", "web")
    assert home.config.read_text() == before


def jwe_header(token: str) -> bytes:
    """Return the header of a JWE."""
    import base64  # noqa: PLC0415 (used here only)

    part = token.partition(".")[0]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_token_with_the_new_provisioner(home: NodeHome) -> None:
    """Without this, the password of the first provisioner would be tried on the key of another."""
    run(home, "provisioner", "add", "web")
    (home.path / "secrets" / "provisioner_password.txt").write_bytes(PROVISIONER_PASSWORD + b"\n")
    (home.path / "secrets" / "provisioner_password.txt").chmod(0o600)
    run(home, "token", "foo.local", "--offline", "--provisioner", "web")
    run(home, "token", "foo.local", "--offline", "--provisioner", "admin")
    run(home, "token", "foo.local", "--offline", status=1)
    run(home, "provisioner", "remove", "admin")
    run(home, "token", "foo.local", "--offline")


def test_ones_own_password_key_and_kind(home: NodeHome, tmp_path: Path) -> None:
    """Without this, only keys that are made here, with passwords that are drawn here, could be used."""
    password = tmp_path / "password"
    password.write_text("own\n")
    password.chmod(0o600)
    run(home, "provisioner", "add", "own", "--password-file", str(password), "--kty", "OKP")
    assert entries(home)["own"]["key"]["alg"] == "EdDSA"
    assert jwe.decrypt(entries(home)["own"]["encryptedKey"], b"own")
    assert not (home.path / "secrets" / "provisioner_password_own.txt").exists()
    key = generate(KeyKind.EC_P384)
    private = tmp_path / "key.pem"
    private.touch(0o600)
    private.write_bytes(private_key_pem(key, None))
    run(home, "provisioner", "add", "kept", "--private-key", str(private), "--password-file", str(password))
    public = PrivateJwk.of(key).public()
    assert entries(home)["kept"]["key"] == public.to_json()
    for number, content in enumerate((private.read_bytes(), json.dumps(public.to_json()).encode())):
        other = tmp_path / f"public-{number}"
        other.touch(0o600)
        other.write_bytes(content)
        run(home, "provisioner", "remove", "kept" if number == 0 else "elsewhere")
        run(home, "provisioner", "add", "elsewhere", "--public-key", str(other))
        assert entries(home)["elsewhere"] == {"type": "JWK", "name": "elsewhere", "key": public.to_json()}


def test_x5c_and_oidc(home: NodeHome) -> None:
    """Without this, the two other kinds would have to be typed into the file by hand."""
    run(home, "provisioner", "add", "hosts", "--type", "X5C", "--x5c-roots", str(home.root))
    run(
        home, "provisioner", "add", "people", "--type", "oidc", "--client-id", "id", "--configuration-endpoint",
        "https://accounts.example.com", "--admin", "root@example.com", "--domain", "example.com", "--group", "staff",
    )  # fmt: skip
    found = {each.name: each for each in load_config(home.config).provisioners}
    assert set(found) == {"admin", "hosts", "people"}
    assert entries(home)["people"] == {
        "type": "OIDC",
        "name": "people",
        "clientID": "id",
        "configurationEndpoint": "https://accounts.example.com",
        "admins": ["root@example.com"],
        "domains": ["example.com"],
        "groups": ["staff"],
    }
    run(home, "provisioner", "update", "people", "--domain", "example.org", "--remove-domain", "example.com",
        "--remove-group", "staff", "--x509-default-dur", "8h")  # fmt: skip
    changed = entries(home)["people"]
    assert (changed["domains"], changed["claims"]) == (["example.org"], {"defaultTLSCertDuration": "8h0m0s"})
    assert "groups" not in changed
    listed = run(home, "provisioner", "list", "--ca-config", str(home.config)).stdout
    assert re.search(r"^hosts +X5C$", listed, re.MULTILINE)
    public = json.loads(run(home, "provisioner", "list", "--ca-config", str(home.config), "--json").stdout)
    assert "root@example.com" not in json.dumps(public)


def test_updating_leaves_the_rest(home: NodeHome) -> None:
    """Without this, an update would drop what it does not know, such as a policy or a comment-like member."""
    document = json.loads(home.config.read_text())
    document["authority"]["provisioners"][0]["policy"] = {"x509": {"allow": {"dns": ["*.example.com"]}}}
    home.config.write_text(json.dumps(document, indent=2))
    before = entries(home)["admin"]
    run(home, "provisioner", "update", "admin", "--x509-max-dur", "48h", "--allow-renewal-after-expiry")
    claims = {"maxTLSCertDuration": "48h0m0s", "allowRenewalAfterExpiry": True}
    assert entries(home)["admin"] == {**before, "claims": claims}
    run(home, "provisioner", "update", "admin", "--x509-max-dur", "", "--no-allow-renewal-after-expiry")
    assert entries(home)["admin"]["claims"] == {"allowRenewalAfterExpiry": False}


def test_a_new_key_for_a_provisioner(home: NodeHome) -> None:
    """Without this, a leaked password could not be answered; or its file would keep the old one."""
    kept = home.path / "secrets" / "provisioner_password.txt"
    kept.write_bytes(PROVISIONER_PASSWORD + b"\n")
    kept.chmod(0o600)
    before = entries(home)["admin"]
    result = run(home, "provisioner", "update", "admin", "--create")
    assert "cannot be renewed" in result.output
    after = entries(home)["admin"]
    assert after["key"]["kid"] != before["key"]["kid"]
    assert jwe.decrypt(after["encryptedKey"], kept.read_bytes().strip())
    assert not (home.path / "secrets" / "provisioner_password_admin.txt").exists()
    run(home, "token", "foo.local", "--offline")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("add", "admin"), 1),
        (("add", "x", "--x509-min-dur", "48h"), 1),
        (("add", "x", "--x509-max-dur", "soon"), 1),
        (("add", "x/../../y"), 1),
        (("add", "x", "--type", "X5C"), 1),
        (("add", "x", "--type", "OIDC", "--client-id", "a"), 1),
        (("add", "x", "--type", "OIDC", "--client-id", "a", "--configuration-endpoint", "http://a.example"), 1),
        (("add", "x", "--client-id", "a"), 1),
        (("add", "x", "--type", "X5C", "--create"), 2),
        (("add", "x", "--type", "ACME"), 2),
        (("add", "x", "--create", "--public-key", "y"), 2),
        (("update", "admin"), 2),
        (("update", "admin", "--password-file", "x"), 2),
        (("update", "nobody", "--disable-renewal"), 1),
        (("update", "admin", "--domain", "example.com"), 1),
        (("update", "admin", "--name", ""), 1),
        (("remove", "nobody"), 1),
    ],
)
def test_a_refused_edit_changes_nothing(home: NodeHome, arguments: tuple[str, ...], status: int) -> None:
    """Without this, a mistake could leave a node that does not start, or a password file of nobody."""
    before = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    run(home, "provisioner", *arguments, status=status)
    assert {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()} == before


def test_a_password_file_that_is_left_over(home: NodeHome) -> None:
    """Without this, adding a name again would fail with advice about a file that nobody knows of."""
    run(home, "provisioner", "add", "web")
    run(home, "provisioner", "remove", "web")
    refused = run(home, "provisioner", "add", "web", status=1)
    left = home.path / "secrets" / "provisioners"
    assert "left over" in refused.output
    assert "--password-file" in refused.output
    assert "delete it" in refused.output
    assert left.name in refused.output or "web" in refused.output
    assert "web" not in entries(home)


def test_an_unknown_name_is_answered_with_those_there_are(home: NodeHome) -> None:
    """Without this, whoever mistypes a name has to look for the list first."""
    for edit in (("update", "nope", "--disable-renewal"), ("remove", "nope")):
        assert "it has: admin" in run(home, "provisioner", *edit, status=1).output


def test_the_file_keeps_its_mode_and_its_link(home: NodeHome, tmp_path: Path) -> None:
    """Without this, a private file would become public, or a link into a checkout be replaced by a file."""
    elsewhere = tmp_path / "checkout.json"
    elsewhere.write_bytes(home.config.read_bytes())
    elsewhere.chmod(0o600)
    home.config.unlink()
    home.config.symlink_to(elsewhere)
    run(home, "provisioner", "add", "web")
    assert home.config.is_symlink()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o600
    assert "web" in entries(home)


def test_two_at_once(home: NodeHome) -> None:
    """Without this, of two edits at the same time one would be lost."""
    names = [f"p{number}" for number in range(6)]
    command = [sys.executable, "-m", "online", "provisioner", "add", "--home", str(home.path), "--public-key"]
    key = home.path / "public.json"
    processes = []
    for name in names:
        file = key.with_name(f"{name}.json")
        file.write_text(json.dumps(PrivateJwk.of(generate(KeyKind.EC_P256)).public().to_json()))
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        processes.append(subprocess.Popen([*command, str(file), name], env=environment, stderr=subprocess.DEVNULL))
    assert [each.wait(60) for each in processes] == [0] * len(names)
    assert set(entries(home)) == {"admin", *names}


def test_the_last_one_goes_with_a_warning(home: NodeHome) -> None:
    """Without this, an operator could lock everybody out without noticing."""
    result = run(home, "provisioner", "remove", "admin")
    assert "no provisioner now" in result.output
    assert "cannot be renewed" in result.output
    assert load_config(home.config).provisioners == ()


def test_reload_reaches_the_running_node(home: NodeHome) -> None:
    """Without this, --reload would be a promise; or would signal a process that has nothing to do with it."""
    pidfile, password = home.path / "pid", home.path / "password"
    password.touch(0o600)
    password.write_bytes(KEY_PASSWORD)
    before = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    for edit in (("add", "early"), ("update", "admin", "--disable-renewal"), ("remove", "admin")):
        run(home, "provisioner", *edit, "--pidfile", str(pidfile), status=1)
    # Nobody to tell is said before anything is changed, not after.
    assert {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()} == before
    process = subprocess.Popen(
        [sys.executable, "-m", "online", "serve", str(home.config), "--password-file", str(password), "--pidfile",
         str(pidfile), "--address", "127.0.0.1:0"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    lines: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
    reader.start()

    def wait(word: str) -> None:
        deadline = time.monotonic() + 30
        while not any(word in line for line in lines):
            assert process.poll() is None, lines
            assert time.monotonic() < deadline, lines
            time.sleep(0.05)

    try:
        wait("READY")
        assert pidfile.read_text().strip() == str(process.pid)
        result = run(home, "provisioner", "add", "web", "--reload", "--pidfile", str(pidfile))
        assert str(process.pid) in result.output
        wait("configuration reloaded")
        with pytest.raises(RequestRejected) as caught, pid_file(pidfile):
            pass
        assert caught.value.code == "serve.running"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        reader.join(5)
        process.stderr.close()
    with pytest.raises(NotFound):
        reload_node(pidfile)


@pytest.mark.parametrize("content", ["1\n", "", "x", "-1", "4194304999"])
def test_a_number_without_a_lock_is_nobody(tmp_path: Path, content: str) -> None:
    """Without this, the number of a node that died could send the signal to whoever has it now."""
    path = tmp_path / "pid"
    path.write_text(content)
    with pytest.raises(NotFound) as caught:
        reload_node(path)
    assert caught.value.code == "serve.not-running"


def test_how_to_reload_is_said(home: NodeHome) -> None:
    """Without this, an operator would take the change for done."""
    assert "see --reload" in run(home, "provisioner", "update", "admin", "--disable-renewal").output
    assert "systemctl reload" in run(home, "provisioner", "update", "admin", "--no-disable-renewal", "--reload").output


def outcomes(result: Result) -> dict[str, str]:
    """Return the outcome of each check."""
    return {each["what"]: each["outcome"] for each in json.loads(result.stdout)}


def test_a_configuration_that_is_good(home: NodeHome) -> None:
    """Without this, check could complain of a node that runs."""
    found = outcomes(run(home, "config", "check", "--json"))
    assert set(found.values()) == {"ok"}
    assert run(home, "config", "check", str(home.config)).stdout.startswith("ok       root  ")


def test_a_configuration_that_would_not_start(home: NodeHome) -> None:
    """Without this, each of these would be found out when the node is started in the night."""
    key = home.path / "secrets" / "intermediate_ca_key"
    crt = home.path / "certs" / "intermediate_ca.crt"
    good = crt.read_bytes()
    for break_it, mend_it, what in (
        (lambda: key.chmod(0o644), lambda: key.chmod(0o600), "key"),
        (lambda: key.rename(key.with_suffix(".x")), lambda: key.with_suffix(".x").rename(key), "key"),
        (lambda: crt.write_bytes(certificate_pem(home.pki.sibling().root)), lambda: crt.write_bytes(good), None),
        (lambda: crt.write_bytes(certificate_pem(make_other().intermediate)), lambda: crt.write_bytes(good), "crt"),
        (
            lambda: home.root.rename(home.root.with_suffix(".x")),
            lambda: home.root.with_suffix(".x").rename(home.root),
            "root",
        ),
        (lambda: database(home).rename(home.path / "x"), lambda: (home.path / "x").rename(database(home)), "db"),
    ):
        break_it()
        if what is not None:
            assert outcomes(run(home, "config", "check", "--json", status=1))[what] == "fault"
        mend_it()
    home.change_config(addres=":443")
    assert "nearest known one is address" in run(home, "config", "check", status=1).output


def make_other() -> Any:
    """Return another PKI."""
    from fakes.hierarchy import make_pki  # noqa: PLC0415 (used here only)

    return make_pki()


def database(home: NodeHome) -> Path:
    """Return the database of a home."""
    return home.path / "db" / "coldroot.db"


def test_warnings_are_no_faults(home: NodeHome) -> None:
    """Without this, an operator would not hear of a key in the clear, or could not start with one."""
    key = home.path / "secrets" / "intermediate_ca_key"
    key.write_bytes(private_key_pem(home.pki.intermediate_key, None))
    home.change_config(authority={"provisioners": [], "claims": {"maxTLSCertDuration": "87600h"}})
    found = outcomes(run(home, "config", "check", "--json"))
    assert (found["key"], found["crt"], found["authority.provisioners"]) == ("warning", "warning", "warning")
