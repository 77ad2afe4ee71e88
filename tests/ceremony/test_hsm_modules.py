"""A whole ceremony on PKCS#11 modules of other makers, each with its habits (``shared.keystore.quirks``).

* opencryptoki's soft token: RSA alone, PINs of 4 to 8 characters, a security officer's PIN from the factory;
* tpm2-pkcs11 on a software TPM: keys that it calls fit for decryption, wrong tries that it never forgets, no erasing;
* Kryoptic: PKCS#11 3.2, with ML-DSA.

Each runs in a process of its own, in namespaces or with daemons of its own, and nothing of it stays behind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shared.errors import NotFound
from shared.keystore import find_module

ROOT = Path(__file__).resolve().parents[2]
PLAN = """\
version = 1
title = "Another maker"
organization = "Example"
acts = ["root", "intermediate:below", "rotate:new", "destroy"]
[root]
common_name = "Example Root CA"
key = "{kind}"
label = "example-root"
years = 10
[[intermediate]]
file = "below"
common_name = "Example Intermediate CA"
years = 5
[shares]
threshold = 2
custodians = ["Ada", "Blaise", "Carl"]
[[rotation]]
name = "new"
threshold = 2
custodians = ["Dora", "Emil", "Fritz"]
"""
PROGRAM = """
import json, sys
from pathlib import Path
from click.testing import CliRunner
from ceremony import host
from ceremony.cli import cli
from ceremony.transcript import verify_chain
from fakes.rehearsal import request_bundle
from shared import keys

host.harden_process = lambda: ()
base, kind = Path(sys.argv[1]), sys.argv[2]
said = {}

def run(name, *arguments):
    done = CliRunner().invoke(cli, [str(each) for each in arguments])
    said[name] = {"status": done.exit_code, "output": done.output}

def act(name, words, *arguments):
    common = ("--dir", base / "c", "--hsm", base / "hsm.toml", "--words-file", base / words)
    run(name, "rehearse", name, *common, *arguments)

run("root", "rehearse", "root", "--plan", base / "plan.toml", "--hsm", base / "hsm.toml", "--dir", base / "c",
    "--words-file", base / "words")
(base / "request").write_bytes(request_bundle(keys.generate(keys.KeyKind.EC_P256)))
act("intermediate", "words", "--out", base / "out", base / "request")
act("rotate", "words", "--new-words-file", base / "new", "new")
act("inventory", "new")
run("verify", "verify", base / "c")
run("real", "root", "create", "--plan", base / "plan.toml", "--hsm", base / "hsm.toml", "--dir", base / "real")
act("destroy", "new")
run("verified", "verify", base / "c")
records = verify_chain((base / "c" / "transcript.jsonl").read_bytes())
said["records"] = [[each.kind, dict(each.body)] for each in records]
(base / "said.json").write_text(json.dumps(said))
"""
OPENCRYPTOKI = """
set -e
cp -a /var/lib/opencryptoki/. "$1/var"
mkdir "$1/lock/opencryptoki" "$1/lock/opencryptoki/swtok" "$1/run/opencryptoki"
mkdir -p /run/lock
mount --bind "$1/var" /var/lib/opencryptoki
mount --bind "$1/lock" /run/lock
mount --bind "$1/run" /run/opencryptoki 2>/dev/null || true
chgrp -R pkcs11 "$1/lock/opencryptoki"
chmod -R 770 "$1/lock/opencryptoki"
pkcsslotd -f >"$1/daemon.log" 2>&1 &
daemon=$!
sleep 1
shift
"$@" || true
kill $daemon
wait
"""
TPM = """
base=$1
shift
swtpm_setup --tpm2 --tpmstate "$base/tpm" --createek --overwrite >"$base/setup.log" 2>&1
swtpm socket --tpm2 --tpmstate "dir=$base/tpm" --ctrl "type=unixio,path=$base/socket.ctrl" \\
    --server "type=unixio,path=$base/socket" --flags not-need-init,startup-clear >"$base/daemon.log" 2>&1 &
daemon=$!
sleep 1
tpm2-abrmd --allow-root --session --tcti "swtpm:path=$base/socket" >"$base/broker.log" 2>&1 &
broker=$!
sleep 1
TPM2_PKCS11_STORE=$base/store TPM2_PKCS11_TCTI=tabrmd:bus_type=session "$@"
kill $broker $daemon
wait
"""


@dataclass(frozen=True)
class Rig:
    """What a module needs around it."""

    module: str
    kind: str
    programs: tuple[str, ...]
    wrapper: tuple[str, ...]
    script: str = ""


RIGS = {
    "opencryptoki-soft": Rig("opencryptoki", "rsa", ("pkcsslotd", "unshare"), ("unshare", "-m", "-i"), OPENCRYPTOKI),
    "tpm2-pkcs11": Rig(
        "tpm2_pkcs11", "ec-p256", ("swtpm", "swtpm_setup", "tpm2-abrmd", "dbus-run-session"), ("dbus-run-session",
        "--"), TPM,
    ),
    "kryoptic": Rig("kryoptic_pkcs11", "ml-dsa-65", (), ()),
}  # fmt: skip


def _module(rig: Rig) -> Path | None:
    # Kryoptic is no package of Debian's yet: whoever built it says where it is.
    named = os.environ.get(f"COLDROOT_TEST_{rig.module.upper()}")
    if named:
        return Path(named)
    try:
        return find_module(rig.module)
    except NotFound:
        return None


@pytest.fixture(scope="module", params=list(RIGS))
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Mapping[str, Any]]:
    """Run the program on one module; return the module's name and what was said."""
    name = request.param
    rig, module = RIGS[name], _module(RIGS[name])
    missing = [program for program in rig.programs if shutil.which(program) is None]
    if module is None or missing:
        pytest.skip(f"not installed: {', '.join(missing) or rig.module}")
    base = tmp_path_factory.mktemp(name)
    for folder in ("var", "lock", "run", "tpm", "store"):
        (base / folder).mkdir()
    (base / "plan.toml").write_text(PLAN.format(kind=rig.kind))
    (base / "hsm.toml").write_text(f'module = "{module}"\ntoken_label = "other-maker"\n')
    (base / "token.conf").write_text(f'[[slots]]\nslot = 1\ndbtype = "sqlite"\ndbargs = "{base}/token.sql"\n')
    program = (sys.executable, "-c", PROGRAM, str(base), rig.kind)
    shell = ("sh", "-c", rig.script, "sh", str(base)) if rig.script else ()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "KRYOPTIC_CONF": str(base / "token.conf")}
    done = subprocess.run(
        [*rig.wrapper, *shell, *program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        env=environment,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr and not (base / "said.json").exists():
        pytest.skip("this user may make no namespaces")
    assert (base / "said.json").exists(), done.stdout + done.stderr
    return name, json.loads((base / "said.json").read_text())


def _first(said: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next(body for found, body in said["records"] if found == kind)


def test_a_ceremony_on_another_makers_module(told: tuple[str, Mapping[str, Any]]) -> None:
    """What works with SoftHSM alone works with SoftHSM's habits: root, intermediate, rotation must work elsewhere."""
    name, said = told
    for act in ("root", "intermediate", "rotate", "inventory", "verify"):
        assert said[act]["status"] == 0, (name, act, said[act]["output"])
    assert _first(said, "token-initialised")["quirks"] == name


def test_each_habit_is_in_the_record(told: tuple[str, Mapping[str, Any]]) -> None:
    """Whoever reads the record years later must learn how long the PINs were, and what was not proven."""
    name, said = told
    initialised, replaced = _first(said, "token-initialised"), _first(said, "pins-replaced")
    assert initialised["pin_symbols"] == (8 if name == "opencryptoki-soft" else 32)
    assert replaced["old_pins"] == ("not-tried" if name == "tpm2-pkcs11" else "refused")


def test_what_a_module_misreports_is_named_and_no_more(told: tuple[str, Mapping[str, Any]]) -> None:
    """A key whose attributes are not as they must be is for practice at best, and the verdict must say so."""
    name, said = told
    weak = "would be refused in a real ceremony: DECRYPT is true" in said["verify"]["output"]
    assert weak == (name == "tpm2-pkcs11")
    assert ("cannot leave it and can only sign" in said["verify"]["output"]) != weak


def test_the_end_on_another_makers_module(told: tuple[str, Mapping[str, Any]]) -> None:
    """A key that its module does not let go must be destroyed otherwise, and people be told before they begin."""
    name, said = told
    if name == "tpm2-pkcs11":
        assert said["destroy"]["status"] == 1
        assert "does not erase a token that is in use" in said["destroy"]["output"]
        assert "key-destroyed" not in [kind for kind, _ in said["records"]]
    else:
        assert said["destroy"]["status"] == 0, said["destroy"]["output"]
    assert said["verified"]["status"] == 0, said["verified"]["output"]
