"""A second PKCS#11 implementation: NSS's softokn, reached through p11-kit's proxy.

NSS wants an argument at its initialisation that only p11-kit gives it, and p11-kit reads root's settings from system
directories alone. So the test runs in a mount namespace of its own, in which it may put a file there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509

from ceremony.second_opinion import openssl_verifies

ROOT = Path(__file__).resolve().parents[2]
PIN = "CorrectHorseBatteryStaple2026"
SETTINGS = Path("/usr/share/p11-kit/modules")
OWN_MOUNTS = ("unshare", "-m")

PROGRAM = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from ceremony.hsm import HsmSettings, check_attributes, key_attributes
from ceremony.hsm.cryptoki import pin_limits
from ceremony.plan import EXAMPLE, load_plan
from ceremony.root import prepare_root
from shared.errors import ColdrootError
from shared.issue import issue
from shared.keys import KeyKind
from shared.keystore import Token
from shared.pem import certificate_pem

def refusal(deed):
    try:
        deed()
    except ColdrootError as error:
        return f"{error.code}: {error.message}"
    return ""

module = HsmSettings(module=Path(sys.argv[1]), token_label="unused").activate()
found = module.select(label="NSS Certificate DB")
said = {"limits": refusal(lambda: pin_limits(module, found)), "kinds": {}}
with Token.open(module, pin=sys.argv[2].encode(), label="NSS Certificate DB", writable=True) as token:
    said["random"] = len(set(token.random(64)))
    for kind in (KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.RSA):
        key = token.generate(kind, label=f"root-{kind}", rsa_bits=4096)
        plan = load_plan(EXAMPLE.replace('key = "ec-p384"', f'key = "{kind}"').encode())
        prepared = prepare_root(plan, public_key=key.public_key(), serial=2**100, now=datetime.now(UTC))
        attributes = key_attributes(token, key)
        said["kinds"][kind] = {
            "pem": certificate_pem(issue(prepared, key)).decode(),
            "attributes": dict(attributes),
            "refusal": refusal(lambda: check_attributes(attributes)),
        }
    said["ed25519"] = refusal(lambda: token.generate(KeyKind.ED25519, label="root-ed25519"))
    said["twice"] = refusal(lambda: token.generate(KeyKind.EC_P384, label="root-ec-p384"))
said["wrong pin"] = refusal(lambda: Token.open(module, pin=b"wrong", label="NSS Certificate DB").__enter__())
print(json.dumps(said))
"""


def _library(name: str) -> Path | None:
    folders = [Path("/usr/lib"), Path("/usr/lib64"), *Path("/usr/lib").glob("*-linux-gnu")]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _may_mount() -> bool:
    command = (*OWN_MOUNTS, "mount", "--bind", "/tmp", str(SETTINGS))
    return (
        shutil.which("unshare") is not None and not subprocess.run(command, capture_output=True, check=False).returncode
    )


needs_nss = pytest.mark.skipif(
    not (
        shutil.which("certutil") and _library("libsoftokn3.so") and _library("p11-kit-proxy.so") and SETTINGS.is_dir()
    ),
    reason="NSS is not installed (Debian: libnss3-tools p11-kit p11-kit-modules)",
)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, object]:
    """Run the program on a new NSS database; return what it says."""
    if not _may_mount():
        pytest.skip("this user may not make a mount namespace")
    base = tmp_path_factory.mktemp("nss")
    (base / "database").mkdir()
    (base / "modules").mkdir()
    (base / "pin").write_text(PIN)
    subprocess.run(["certutil", "-N", "-d", f"sql:{base}/database", "-f", base / "pin"], check=True)
    (base / "modules" / "nss.module").write_text(
        f"module: {_library('libsoftokn3.so')}\nx-init-reserved: configdir='sql:{base}/database' flags=\n"
    )
    script = f'mount --bind "{base}/modules" {SETTINGS} && exec "$@"'
    program = (sys.executable, "-c", PROGRAM, str(_library("p11-kit-proxy.so")), PIN)
    done = subprocess.run(
        [*OWN_MOUNTS, "sh", "-c", script, "sh", *program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: Mapping[str, object] = json.loads(done.stdout)
    return found


@needs_nss
def test_another_module_signs_roots_that_verify(said: Mapping[str, dict[str, dict[str, str]]]) -> None:
    """What only SoftHSM was ever asked for may be SoftHSM's habit: another token must make a root as well."""
    assert set(said["kinds"]) == {"ec-p256", "ec-p384", "rsa"}
    for made in said["kinds"].values():
        certificate = x509.load_pem_x509_certificate(made["pem"].encode())
        certificate.verify_directly_issued_by(certificate)
        openssl_verifies(certificate, [], at=certificate.not_valid_before_utc)


@needs_nss
def test_what_the_token_does_not_vouch_for_is_named(said: Mapping[str, dict[str, dict[str, object]]]) -> None:
    """NSS does not vouch that a key was made inside: such a token is no place for a root, and only that is said."""
    for made in said["kinds"].values():
        assert str(made["refusal"]).startswith("hsm.key-exposed: ")
        assert str(made["refusal"]).endswith(": LOCAL is false")
        attributes = made["attributes"]
        assert isinstance(attributes, dict)
        assert attributes["NEVER_EXTRACTABLE"] is attributes["ALWAYS_SENSITIVE"] is True


@needs_nss
def test_errors_of_another_module_are_ours(said: Mapping[str, str]) -> None:
    """Each vendor has its own codes; people must meet the same few refusals."""
    assert said["limits"].startswith("hsm.behind-proxy: ")
    assert said["ed25519"].startswith("hsm.unsupported: ")
    assert said["twice"].startswith("hsm.key-exists: ")
    assert said["wrong pin"].startswith("hsm.wrong-pin: ")
    assert int(said["random"]) > 32
