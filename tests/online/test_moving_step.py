"""What import-step says of homes that are not the plainest: each part named, nothing touched, nothing half done."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes import vectors
from fakes.hierarchy import make_pki
from hypothesis import given
from hypothesis import strategies as st

from online.cli import cli
from online.config import load_config, parse_config
from online.moving.findings import Fate
from online.moving.step_config import convert
from online.moving.step_home import StepHome, read_step_home, take_over
from online.provisioners.x5c import X5cProvisioner
from online.strict_json import JsonObject
from shared.errors import ColdrootError, RequestRejected, StoreFailed
from shared.keystore import private_key_pem
from shared.pem import certificate_pem

PKI = make_pki()


def step_home(path: Path, **changes: Any) -> Path:
    """Make a step home with changes to its ca.json; ``...`` removes a key."""
    for name in ("config", "certs", "secrets"):
        (path / name).mkdir(parents=True)
    (path / "certs" / "root_ca.crt").write_bytes(certificate_pem(PKI.root))
    (path / "certs" / "intermediate_ca.crt").write_bytes(certificate_pem(PKI.intermediate))
    key = path / "secrets" / "intermediate_ca_key"
    key.touch(0o600)
    key.write_bytes(private_key_pem(PKI.intermediate_key, b"secret"))
    document = {**vectors.step_ca_json(), **changes}
    content = {name: value for name, value in document.items() if value is not ...}
    (path / "config" / "ca.json").write_text(json.dumps(content))
    return path


def fates(home: StepHome) -> dict[str, Fate]:
    """Return what becomes of each part."""
    return {each.what: each.fate for each in home.findings}


def test_a_home_that_was_moved(tmp_path: Path) -> None:
    """Without this, a copy of a home on another machine would name files that are not there."""
    found = read_step_home(step_home(tmp_path / "step"))
    assert [fates(found)[each] for each in ("root", "crt", "key")] == [Fate.CHANGES] * 3
    assert not found.stops
    take_over(found)
    config = load_config(found.target)
    assert config.crt == tmp_path / "step" / "certs" / "intermediate_ca.crt"
    assert config.db.data_source == str(tmp_path / "step" / "coldroot" / "coldroot.db")


def test_revocations_come_along_in_a_file(tmp_path: Path) -> None:
    """Without this, a certificate that step-ca revoked would be renewed by the node."""
    home, listed = step_home(tmp_path / "step"), tmp_path / "revoked.txt"
    listed.write_text("# from step-ca\n17\n0x1F  # lost\n\n17\n")
    assert run_cli("import-step", str(home), "--revoked", str(listed)).exit_code == 2
    result = run_cli("import-step", str(home), "--write", "--revoked", str(listed))
    assert result.exit_code == 0, result.output
    config_file = str(home / "config" / "coldroot.json")
    revoke = ("revoke", "--ca-config", config_file, "--unknown")
    assert "already revoked" in run_cli(*revoke, "31").output
    assert run_cli(*revoke, "32").exit_code == 0
    assert "already revoked" in run_cli(*revoke, "0x20").output
    assert run_cli("revoke", "--unknown", "33").exit_code == 2


@pytest.mark.parametrize("line", ["soon", "-1", "0", "0x", "1 2", "1F"])
def test_a_list_of_revocations_is_understood_or_refused(tmp_path: Path, line: str) -> None:
    """Without this, a mistake in the middle would leave half of the revocations behind, in silence."""
    home, listed = step_home(tmp_path / "step"), tmp_path / "revoked.txt"
    listed.write_text(f"17\n{line}\n")
    result = run_cli("import-step", str(home), "--write", "--revoked", str(listed))
    assert result.exit_code == 1
    assert "line 2" in result.output
    assert not (home / "config" / "coldroot.json").exists()


def run_cli(*arguments: str) -> Result:
    """Run ``online``."""
    return CliRunner().invoke(cli, list(arguments))


def provisioners(*entries: JsonObject) -> JsonObject:
    """Return an authority with step's provisioner and further ones."""
    authority = copy.deepcopy(vectors.step_ca_json()["authority"])
    authority["provisioners"] += entries
    return authority  # type: ignore[no-any-return]


def test_provisioners_one_by_one(tmp_path: Path) -> None:
    """Without this, a provisioner that does not come along would be found missing by its users."""
    x5c = X5cProvisioner(name="hosts", roots=(PKI.root,)).public_json()
    oidc: JsonObject = {
        "type": "OIDC", "name": "people", "clientID": "id", "clientSecret": "hunter2",
        "configurationEndpoint": "https://accounts.example.com",
        "claims": {"enableSSHCA": True, "disableRenewal": True},
        "options": {"x509": {}, "ssh": {"templateFile": "x"}},
    }  # fmt: skip
    template: JsonObject = {
        **x5c,
        "name": "odd",
        "options": {"x509": {"template": "{{ range .SANs }}{{ . }}{{ end }}"}},
    }
    acme: JsonObject = {"type": "ACME", "name": "acme"}
    home = step_home(tmp_path / "step", authority=provisioners(x5c, oidc, template, acme))
    found = read_step_home(home)
    said = fates(found)
    path = "authority.provisioners"
    assert said[f"{path}[1] X5C hosts"] == said[f"{path}[2] OIDC people"] == Fate.CARRIES
    assert said[f"{path}[2].clientSecret"] is Fate.CHANGES
    assert said[f"{path}[2].claims.enableSSHCA"] == said[f"{path}[2].options.ssh"] == Fate.DROPS
    assert said[f"{path}[3].options"] is Fate.TO_DO
    assert said[f"{path}[4] ACME acme"] is Fate.DROPS
    take_over(found)
    assert [each.name for each in load_config(found.target).provisioners] == ["admin", "hosts", "people", "odd"]
    assert "hunter2" not in found.target.read_text()


def test_settings_one_by_one(tmp_path: Path) -> None:
    """Without this, a setting could be lost without a word, or stop a node that could run without it."""
    authority: dict[str, Any] = {
        **provisioners(),
        "claims": {"maxTLSCertDuration": "48h", "enableSSHCA": True},
        "enableAdmin": True,
        "backdate": "1m0s",
        "certificateIssuer": {"type": "stepcas"},
        "aNote": 1,
    }
    home = step_home(
        tmp_path / "step", authority=authority, ssh={"hostKey": "/x"}, monitoring={"type": "newrelic"}, aNote="mine",
        templates={}, insecureAddress="", db=...,
    )  # fmt: skip
    found = read_step_home(home)
    said = fates(found)
    assert said["authority.claims"] == said["authority.backdate"] == Fate.CARRIES
    assert said["authority.enableAdmin"] is Fate.TO_DO
    for dropped in (
        "authority.claims.enableSSHCA",
        "authority.certificateIssuer",
        "authority.aNote",
        "ssh",
        "monitoring",
        "aNote",
    ):
        assert said[dropped] is Fate.DROPS
    assert said["db"] is Fate.CHANGES
    assert not found.stops


def test_what_stops_a_move(tmp_path: Path) -> None:
    """Without this, a configuration would be written with which no node starts."""
    faults: tuple[dict[str, Any], ...] = (
        {"crt": "/nowhere/x.crt"},
        {"key": "awskms:key-id=abc"},
        {"key": "/nowhere/key"},
        {"dnsNames": ["not a name"]},
        {"tls": {"cipherSuites": ["TLS_RSA_WITH_RC4_128_SHA"]}},
        {"authority": provisioners({"type": "X5C", "name": "x", "roots": "!"})},
        {"authority": provisioners(7)},  # type: ignore[arg-type]
    )
    for number, changes in enumerate(faults):
        home = step_home(tmp_path / f"step-{number}", **changes)
        found = read_step_home(home)
        assert found.stops, changes
        with pytest.raises(RequestRejected) as caught:
            take_over(found)
        assert caught.value.code == "import-step.stops"
        result = CliRunner().invoke(cli, ["import-step", str(home), "--write"])
        assert result.exit_code == 1
        assert "stops" in result.output
        assert not found.target.exists()
        assert not (home / "coldroot").exists()


def test_keys_that_want_attention(tmp_path: Path) -> None:
    """Without this, a key that others can read, or in the clear, would go into service as it is."""
    home = step_home(tmp_path / "step")
    key = home / "secrets" / "intermediate_ca_key"
    key.chmod(0o644)
    assert fates(read_step_home(home))[str(key)] is Fate.TO_DO
    key.chmod(0o600)
    key.write_bytes(private_key_pem(PKI.intermediate_key, None))
    assert fates(read_step_home(home))[str(key)] is Fate.TO_DO
    (home / "secrets" / "root_ca_key").touch()
    first = next(each for each in read_step_home(home).findings if each.what == "secrets/root_ca_key")
    assert first.fate is Fate.TO_DO


def test_nothing_is_overwritten_and_nothing_stays_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a second import could replace an edited file, or a full disk leave a database of nobody."""
    home = step_home(tmp_path / "step")
    found = read_step_home(home)

    def full(*_: object, **__: object) -> None:
        raise StoreFailed("file.write-failed", "the disk is full")

    for what in ("create_database", "durable.write_new"):
        with monkeypatch.context() as patch:
            patch.setattr(f"online.moving.step_home.{what}", full)
            with pytest.raises(StoreFailed):
                take_over(found)
        assert not (home / "coldroot").exists()
    written = take_over(found)
    assert [each.name for each in written] == ["coldroot.json", "coldroot.db"]
    assert found.target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(RequestRejected) as caught:
        take_over(found)
    assert caught.value.code == "file.exists"


@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"a":1,"a":2}'])
def test_what_is_no_home(tmp_path: Path, content: str | None) -> None:
    """Without this, a wrong directory would end in a riddle."""
    home = tmp_path / "step"
    (home / "config").mkdir(parents=True)
    if content is not None:
        (home / "config" / "ca.json").write_text(content)
    result = CliRunner().invoke(cli, ["import-step", str(home)])
    assert result.exit_code == 1
    assert result.output.startswith("error:")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "root",
        "crt",
        "key",
        "address",
        "dnsNames",
        "db",
        "tls",
        "logger",
        "authority",
        "kms",
        "ssh",
        "crl",
        "password",
        "x",
    ]
)
AUTHORITY = st.fixed_dictionaries(
    {},
    optional={
        "provisioners": JSON
        | st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["JWK", "X5C", "ACME"]), "name": JSON, "claims": JSON, "options": JSON}
            )
        ),
        "claims": JSON,
        "policy": JSON,
        "enableAdmin": JSON,
    },
)


@given(st.dictionaries(KEYS, JSON, max_size=5), AUTHORITY)
def test_any_file_is_told_about(changes: Any, authority: Any) -> None:
    """Without this, an odd ca.json would end the report with an accident instead of a line."""
    document, findings = convert(
        {**vectors.step_ca_json(), "authority": authority, **changes},
        data_source="coldroot/coldroot.db",
        home=Path("/nowhere"),
        locate=lambda text: text,
    )
    assert findings
    try:
        parse_config(json.dumps(document).encode(), path=Path("/nowhere/config/ca.json"))
    except ColdrootError as error:
        assert error.code  # noqa: PT017 (either is fine, an accident is not)
