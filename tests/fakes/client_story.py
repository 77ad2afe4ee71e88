"""What every client command must do against any CA that speaks step-ca's API: told once, run against several.

A test module subclasses ``ClientStory`` and provides the fixture ``shell``: the command line, in a directory of its
own, beside a running CA.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from online.cli import cli
from online.enrol import make_csr
from shared import keys
from shared.keys import KeyKind
from shared.names import sans_of
from shared.pem import load_certificate, load_certificates


@dataclass(frozen=True, kw_only=True)
class Shell:
    """The command line of one client machine."""

    directory: Path
    url: str
    fingerprint: str
    password_file: Path
    home: str = "client-home"
    """Name of the client's home directory."""
    runner: CliRunner = field(default_factory=CliRunner)

    def run(self, *arguments: str, status: int = 0, home: str | None = None) -> Result:
        """Run a command in the directory and insist on its exit status."""
        environment = {"COLDROOT_HOME": str(self.directory / (home or self.home)), "COLDROOT_DEBUG": "1"}
        result = self.runner.invoke(cli, list(arguments), env=environment)
        assert result.exit_code == status, f"{arguments}: {result.exit_code}\n{result.output}\n{result.exception!r}"
        return result

    def path(self, name: str) -> str:
        """Return the path of a file in the directory."""
        return str(self.directory / name)

    def read(self, name: str) -> tuple[x509.Certificate, ...]:
        """Return the chain in a file."""
        return load_certificates((self.directory / name).read_bytes())

    def password(self) -> tuple[str, ...]:
        """Return the options that name provisioner and password."""
        return ("--provisioner", "admin", "--provisioner-password-file", str(self.password_file))

    def pair(self, stem: str, *arguments: str) -> tuple[str, str]:
        """Get a certificate for STEM.local into new files and return their paths."""
        crt, key = self.path(f"{stem}.crt"), self.path(f"{stem}.key")
        self.run("certificate", f"{stem}.local", crt, key, *self.password(), *arguments)
        return crt, key


def openssl_verify(root: Path, crt: str) -> None:
    """Insist that openssl accepts a chain under a root."""
    judged = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", root, "-untrusted", crt, crt], check=False, capture_output=True
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr


class ClientStory:
    """The tests."""

    def test_reads(self, shell: Shell) -> None:
        """Health, version, roots, federation, provisioners: what an operator looks at first."""
        assert shell.run("health").stdout == "ok\n"
        assert json.loads(shell.run("version", "--json").stdout)["version"]
        (root,) = load_certificates(shell.run("roots").stdout.encode())
        assert keys.fingerprint(root) == shell.fingerprint
        assert json.loads(shell.run("federation", "--json").stdout)[0]["fingerprint"] == shell.fingerprint
        listed = json.loads(shell.run("provisioner", "list", "--json").stdout)
        assert [(each["type"], each["name"]) for each in listed] == [("JWK", "admin")]
        assert shell.run("provisioner", "list").stdout.startswith("admin  JWK")

    def test_root_by_fingerprint(self, shell: Shell) -> None:
        """The root can be fetched again, also without a home, and an unknown one is a clear refusal."""
        shell.run(
            "root", shell.path("root.pem"), "--ca-url", shell.url, "--fingerprint", shell.fingerprint, home="none"
        )
        assert keys.fingerprint(shell.read("root.pem")[0]) == shell.fingerprint
        refused = shell.run("root", "--ca-url", shell.url, "--fingerprint", "00" * 32, status=1)
        assert "404" in refused.stderr

    def test_a_token_alone_gets_a_certificate(self, shell: Shell) -> None:
        """A machine that was never configured needs nothing but the token; nothing is left in its home."""
        token = shell.run("token", "a.local", *shell.password()).stdout.strip()
        crt, key = shell.path("a.crt"), shell.path("a.key")
        shell.run("certificate", "a.local", crt, key, "--token", token, home="empty")
        leaf = shell.read("a.crt")[0]
        assert sans_of(leaf.extensions).dns == ("a.local",)
        assert Path(key).stat().st_mode & 0o777 == 0o600
        assert not (shell.directory / "empty").exists()
        openssl_verify(shell.directory / shell.home / "certs" / "root_ca.crt", crt)
        # The token is spent: nothing is issued, nothing is written.
        used = shell.path("used.crt"), shell.path("used.key")
        refused = shell.run("certificate", "a.local", *used, "--token", token, status=1, home="empty")
        assert "401" in refused.stderr
        assert not any(Path(each).exists() for each in used)

    @pytest.mark.parametrize("options", [("--kty", "RSA"), ("--kty", "OKP"), ("--curve", "P-384")])
    def test_kinds_of_key_and_names(self, shell: Shell, options: tuple[str, str]) -> None:
        """All kinds of key, all four kinds of name, and a shorter life, in one go."""
        stem = options[1].lower()
        sans = ("m.local", "10.0.0.7", "me@m.local", "spiffe://m/x")
        wanted = [part for san in sans for part in ("--san", san)]
        crt, _ = shell.pair(stem, *options, *wanted, "--san", f"{stem}.local", "--not-after", "1h")
        leaf = shell.read(f"{stem}.crt")[0]
        assert set(sans_of(leaf.extensions).texts()) == {*sans, f"{stem}.local"}
        expected = {"RSA": KeyKind.RSA, "OKP": KeyKind.ED25519, "P-384": KeyKind.EC_P384}[options[1]]
        assert keys.kind_of(keys.certificate_key(leaf)) is expected
        assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() <= 3660
        assert "TLS Certificate" in shell.run("inspect", "--short", crt).stdout

    def test_a_request_is_signed(self, shell: Shell) -> None:
        """A key that was made elsewhere gets its certificate, and a token bound to the request works."""
        key = keys.generate(KeyKind.EC_P256)
        csr = shell.path("s.csr")
        Path(csr).write_bytes(make_csr(key, "s.local", ["s.local"]).public_bytes(Encoding.PEM))
        shell.run("sign", csr, shell.path("s1.crt"), *shell.password())
        bound = shell.run("token", "s.local", "--cnf-file", csr, *shell.password()).stdout.strip()
        shell.run("sign", csr, shell.path("s2.crt"), "--token", bound, home="empty")
        assert keys.certificate_key(shell.read("s2.crt")[0]) == key.public_key()

    def test_a_token_written_to_a_file(self, shell: Shell) -> None:
        """The file is private, read back by --token-file, and never overwritten unasked."""
        file = shell.path("t.token")
        assert shell.run("token", "t.local", "--output-file", file, *shell.password()).stdout == ""
        assert Path(file).stat().st_mode & 0o777 == 0o600
        shell.run("token", "t.local", "--output-file", file, *shell.password(), status=1)
        shell.run("certificate", "t.local", shell.path("t.crt"), shell.path("t.key"), "--token-file", file)

    def test_renew(self, shell: Shell) -> None:
        """Not due is 3 and changes nothing; forced it works by TLS and by token, with the same key."""
        crt, key = shell.pair("r")
        before = Path(crt).read_bytes()
        assert "not renewed" in shell.run("renew", crt, key, status=3).stderr
        assert "not renewed" in shell.run("renew", "--force", "--expires-in", "1h", crt, key, status=3).stderr
        assert Path(crt).read_bytes() == before
        serials = {shell.read("r.crt")[0].serial_number}
        for options in (("--force",), ("--force", "--mtls=false"), ("--expires-in", "100%")):
            shell.run("renew", *options, crt, key)
            serials.add(shell.read("r.crt")[0].serial_number)
        assert len(serials) == 4
        shell.run("renew", "--force", "--out", shell.path("r2.crt"), crt, key)
        assert shell.read("r2.crt")[0].serial_number not in serials
        openssl_verify(shell.directory / shell.home / "certs" / "root_ca.crt", crt)

    def test_rekey(self, shell: Shell) -> None:
        """In place, and into other files; the certificate is for the key that lies beside it."""
        crt, key = shell.pair("k")
        old = Path(key).read_bytes()
        shell.run("rekey", crt, key, status=3)
        shell.run("rekey", "--force", crt, key, "--kty", "RSA")
        assert Path(key).read_bytes() != old
        assert Path(key).stat().st_mode & 0o777 == 0o600
        shell.run("renew", "--force", crt, key)
        shell.run("rekey", crt, key, "--out-cert", shell.path("k2.crt"), "--out-key", shell.path("k2.key"))
        shell.run("renew", "--force", shell.path("k2.crt"), shell.path("k2.key"))

    def test_revoked_by_itself_it_is_not_renewed(self, shell: Shell) -> None:
        """401, exit 1, the CA's reason, and not a byte changed; by TLS, by token, and for a rekey."""
        crt, key = shell.pair("v")
        serial = shell.read("v.crt")[0].serial_number
        done = shell.run("revoke", "--cert", crt, "--key", key, "--reason", "moved", "--reasonCode", "superseded")
        assert done.stdout == f"Certificate with Serial Number {serial} has been revoked.\n"
        before = Path(crt).read_bytes(), Path(key).read_bytes()
        for command in (("renew",), ("renew", "--no-mtls"), ("rekey",)):
            refused = shell.run(*command, "--force", crt, key, status=1)
            assert "401" in refused.stderr
            assert "lacked necessary authorization" in refused.stderr
            assert (Path(crt).read_bytes(), Path(key).read_bytes()) == before
        again = shell.run("revoke", "--cert", crt, "--key", key, status=1)
        assert "already revoked" in again.stderr

    def test_revoked_by_serial_and_by_token(self, shell: Shell) -> None:
        """The operator's two ways; the token names its serial itself."""
        crt, key = shell.pair("w")
        serial = str(shell.read("w.crt")[0].serial_number)
        shell.run("revoke", serial, *shell.password(), "--reasonCode", "4")
        assert "401" in shell.run("renew", "--force", crt, key, status=1).stderr
        shell.pair("x")
        serial = hex(shell.read("x.crt")[0].serial_number)
        token = shell.run("token", "--revoke", serial, *shell.password()).stdout.strip()
        shell.run("revoke", "--token", token, home="empty")

    def test_refusals(self, shell: Shell) -> None:
        """Wrong password, unknown provisioner, too long a life: exit 1, one line, no file."""
        crt, key = shell.path("no.crt"), shell.path("no.key")
        wrong = shell.directory / "wrong-password"
        wrong.write_text("wrong\n")
        wrong.chmod(0o600)
        for options, word in (
            (("--provisioner", "admin", "--password-file", str(wrong)), "password"),
            (("--provisioner", "nobody", "--password-file", str(shell.password_file)), "admin"),
            ((*shell.password(), "--not-after", "1000h"), "403"),
        ):
            refused = shell.run("certificate", "no.local", crt, key, *options, status=1)
            assert word in refused.stderr
            assert not Path(crt).exists()
            assert not Path(key).exists()

    def test_fingerprint_and_inspect(self, shell: Shell) -> None:
        """Reading needs no CA, and prints what the other commands want to know."""
        root = shell.directory / shell.home / "certs" / "root_ca.crt"
        assert shell.run("fingerprint", str(root), home="none").stdout.strip() == shell.fingerprint
        crt, _ = shell.pair("i")
        described = json.loads(shell.run("inspect", "--format", "json", crt).stdout)
        assert described["extensions"]["step_provisioner"]["name"] == "admin"
        shown = shell.run("inspect", "--format", "pem", crt).stdout
        assert load_certificate(shown.encode()) == shell.read("i.crt")[0]
        prints = [keys.fingerprint(each) for each in shell.read("i.crt")]
        assert shell.run("fingerprint", crt).stdout.split() == prints[:1]
        assert shell.run("fingerprint", crt, "--bundle").stdout.split() == prints
