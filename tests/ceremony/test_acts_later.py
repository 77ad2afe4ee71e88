"""Every act on a real (soft) HSM: what it leaves, judged by OpenSSL, GnuTLS and pkilint, and what it refuses."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.later_acts import Partner, Story, make_partner, plan_text
from fakes.rehearsal import no_hardening
from fakes.softhsm import needs_softhsm

from ceremony import shares
from ceremony.hsm import load_hsm_settings, open_token
from ceremony.inventory import PAIR
from ceremony.secret import CeremonySecret
from shared import keys
from shared.pem import load_certificate

pytestmark = needs_softhsm


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardening(monkeypatch)


@pytest.fixture(scope="module")
def partner() -> Partner:
    """Another CA."""
    return make_partner()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, partner: Partner) -> Iterator[Story]:
    """Root and intermediate, never changed: tests copy it."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        story = Story(tmp_path_factory.mktemp("begun"))
        story.begin(partner, plan_text(partner))
        done = story.alpha()
        assert done.exit_code == 0, done.stderr
        yield story


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, begun: Story) -> Iterator[Story]:
    """Every act but the last, never changed: tests copy it."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        story = begun.copy(tmp_path_factory.mktemp("finished") / "story")
        for command, *arguments in (
            ("crl", "yearly"),
            ("cross", "partner", story.other_root),
            ("rollover", "next"),
            ("backup",),
            ("restore-test",),
            ("crl", "revoking"),
        ):
            done = story.act(str(command), *arguments)
            assert done.exit_code == 0, done.stderr
        yield story


def _openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


def _pem(path: Path, *sources: Path | x509.Certificate) -> Path:
    parts = [each.read_bytes() if isinstance(each, Path) else each.public_bytes(Encoding.PEM) for each in sources]
    path.write_bytes(b"".join(parts))
    return path


def _records(story: Story, kind: str) -> list[dict[str, object]]:
    lines = (story.directory / "transcript.jsonl").read_text().splitlines()
    return [record["body"] for record in map(json.loads, lines) if record["kind"] == kind]


def _secret(story: Story) -> CeremonySecret:
    dealt = _records(story, "shares-dealt")[-1]
    commitments = shares.commitments_from_json(
        {key: value for key, value in dealt.items() if key not in {"quorums_proven", "act"}}
    )
    return shares.combine(shares.read_words_file(story.words)[:2], commitments)


def test_what_the_acts_leave(finished: Story) -> None:
    """Relying parties and archives look for files by the names in the runbook."""
    left = {str(path.relative_to(finished.directory)) for path in finished.directory.rglob("*.c*") if path.is_file()}
    assert left - {"tokens/softhsm2.conf"} == {
        "root.crt", "alpha.crt", "cross/partner.crt", "crl/yearly-0001.crl", "crl/yearly-0002.crl",
        "crl/yearly-0003.crl", "crl/revoking-0001.crl", "rollover/next/root.crt",
        "rollover/next/old-with-new.crt", "rollover/next/new-with-old.crt",
    }  # fmt: skip
    assert (finished.directory / "backup" / "backup-1.json").stat().st_mode & 0o777 == 0o600


def test_openssl_reads_the_lists(finished: Story, tmp_path: Path) -> None:
    """A list that relying parties cannot use revokes nothing."""
    root, alpha = finished.directory / "root.crt", finished.directory / "alpha.crt"
    for name, revoked in (("yearly-0001", False), ("revoking-0001", True)):
        source, crl = finished.directory / "crl" / f"{name}.crl", tmp_path / f"{name}.pem"
        assert _openssl("crl", "-inform", "DER", "-in", source, "-out", crl).returncode == 0
        done = _openssl("verify", "-x509_strict", "-crl_check", "-CAfile", root, "-CRLfile", crl, alpha)
        assert ("certificate revoked" in done.stderr) == revoked
        assert (done.returncode == 0) != revoked, done.stderr
        judged = subprocess.run(
            ["certtool", "--verify-crl", "--load-ca-certificate", root, "--infile", crl],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert judged.returncode == 0, judged.stderr
    lists = [x509.load_der_x509_crl(path.read_bytes()) for path in sorted(finished.directory.glob("crl/yearly-*.crl"))]
    numbers = [each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for each in lists]
    assert numbers == [1, 2, 3]
    for before, after in itertools.pairwise(lists):
        # No day without a valid list.
        assert before.next_update_utc is not None
        assert before.last_update_utc < after.last_update_utc < before.next_update_utc
    scope = lists[0].extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert (scope.critical, scope.value.only_contains_ca_certs) == (True, True)


def test_the_partner_is_reached_from_our_root(finished: Story, partner: Partner, tmp_path: Path) -> None:
    """A cross-certificate that no program builds a path through would be found out on the worst day."""
    root, cross = finished.directory / "root.crt", finished.directory / "cross" / "partner.crt"
    between = _pem(tmp_path / "between.pem", cross, partner.intermediate)
    leaf = _pem(tmp_path / "leaf.pem", partner.leaf)
    done = _openssl("verify", "-CAfile", root, "-untrusted", between, leaf)
    assert done.returncode == 0, done.stderr
    chain = _pem(tmp_path / "chain.pem", partner.leaf, partner.intermediate, cross)
    judged = subprocess.run(
        ["certtool", "--verify", "--load-ca-certificate", root, "--infile", chain],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout
    stranger = _pem(tmp_path / "stranger.pem", partner.stranger)
    refused = _openssl("verify", "-CAfile", root, "-untrusted", between, stranger)
    assert "permitted subtree violation" in refused.stderr


def test_what_the_partner_has_is_kept(finished: Story, partner: Partner) -> None:
    """The partner's certificates point at its subject and key identifier as they are."""
    made = load_certificate((finished.directory / "cross" / "partner.crt").read_bytes())
    assert made.subject.public_bytes() == partner.root.subject.public_bytes()
    assert partner.root.subject.public_bytes() in made.tbs_certificate_bytes
    assert made.public_key() == partner.root.public_key()
    identifier = made.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert identifier == bytes(range(32))
    constraints = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.path_length) == (True, 1)
    assert made.extensions.get_extension_for_class(x509.NameConstraints).critical
    assert made.not_valid_after_utc <= partner.root.not_valid_after_utc


def test_either_root_leads_to_the_other(finished: Story, tmp_path: Path) -> None:
    """Clients that trust one root alone must accept what the other one issued."""
    base = finished.directory
    old, new = base / "root.crt", base / "rollover" / "next" / "root.crt"
    old_with_new, new_with_old = base / "rollover/next/old-with-new.crt", base / "rollover/next/new-with-old.crt"
    done = _openssl("verify", "-x509_strict", "-CAfile", new, "-untrusted", old_with_new, base / "alpha.crt")
    assert done.returncode == 0, done.stderr
    assert _openssl("verify", "-x509_strict", "-CAfile", old, new_with_old).returncode == 0
    assert _openssl("verify", "-x509_strict", "-CAfile", new, base / "alpha.crt").returncode != 0
    chain = _pem(tmp_path / "chain.pem", base / "alpha.crt", old_with_new)
    judged = subprocess.run(
        ["certtool", "--verify", "--load-ca-certificate", new, "--infile", chain],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout
    first, second = (load_certificate(path.read_bytes()).public_key() for path in (new, new_with_old))
    assert first == second


# pkilint's program leaves the files open that it judges.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_pkilint_has_no_finding(finished: Story) -> None:
    """Findings on what a root signed cannot be mended for years."""
    pytest.importorskip("pkilint", reason="the extra lint is not installed")
    from pkilint.bin import lint_crl, lint_pkix_cert  # noqa: PLC0415 (optional)

    for path in finished.directory.rglob("*.crt"):
        assert lint_pkix_cert.main(["lint", "-s", "WARNING", str(path)]) == 0, path.name
    for path in finished.directory.rglob("*.crl"):
        assert lint_crl.main(["lint", "-t", "ARL", "-p", "BR", "-s", "WARNING", str(path)]) == 0, path.name
    assert all(str(body["pkilint"]).startswith("pkilint ") for body in _records(finished, "list-issued"))


def test_the_backup_restores_by_the_shares_alone(finished: Story) -> None:
    """A backup that only the same device can read is none; this one is read without any HSM."""
    from cryptography.hazmat.primitives import keywrap, serialization  # noqa: PLC0415 (only here)

    from ceremony.backup import decode_backup  # noqa: PLC0415

    backup = decode_backup((finished.directory / "backup" / "backup-1.json").read_bytes())
    assert [each.label for each in backup.keys] == ["root", "root-2"]
    for each in backup.keys:
        encoded = keywrap.aes_key_unwrap_with_padding(_secret(finished).backup_key(), each.wrapped.data)
        # SoftHSM pads the PKCS#8 with zeros of its own.
        size = 2 + encoded[1]
        key = serialization.load_der_private_key(encoded[:size], None)
        assert isinstance(key, keys.PrivateKey)
        assert keys.public_key_digest(key.public_key()) == each.public_key_sha256


def test_a_backup_weakens_the_evidence_and_says_so(finished: Story) -> None:
    """Whoever reads the record must not believe of a key that can be wrapped what is true of one that cannot."""
    attributes = _records(finished, "key-generated")[0]["attributes"]
    assert isinstance(attributes, dict)
    assert (attributes["EXTRACTABLE"], attributes["NEVER_EXTRACTABLE"]) == (True, False)
    assert "NEVER_EXTRACTABLE=false" in str(_records(finished, "key-wrapped")[0]["evidence"])
    assert "weaker evidence" in finished.run("verify", finished.directory).output


def test_a_foreign_or_changed_backup(finished: Story, tmp_path: Path) -> None:
    """A file that is not the recorded one must not come near the HSM."""
    story = finished.copy(tmp_path / "story")
    backup = story.directory / "backup" / "backup-1.json"
    away = tmp_path / "usb.json"
    away.write_bytes(backup.read_bytes())
    backup.unlink()
    assert "usb.json restores" not in story.act("restore-test").output
    assert story.act("restore-test", away).exit_code == 0
    away.write_bytes(away.read_bytes().replace(b"wrapped", b"wrappeD"))
    done = story.act("restore-test", away)
    assert (done.exit_code, "none of the backups" in done.stderr) == (1, True)


def test_destruction(finished: Story, tmp_path: Path) -> None:
    """A key that is only said to be destroyed can sign for whoever has it."""
    story = finished.copy(tmp_path / "story")
    secret, serial = _secret(story), str(_records(story, "token-initialised")[0]["serial"])
    done = story.act("destroy")
    assert done.exit_code == 0, done.stderr
    assert {body["label"] for body in _records(story, "absence-proven")} == {"root", "root-2"}
    assert _records(story, "inventory-taken")[-1]["objects"] == []
    assert (story.directory / "destruction.pdf").read_bytes().startswith(b"%PDF")
    from shared.errors import ColdrootError  # noqa: PLC0415 (only here)

    for known in (serial, None):
        with (
            pytest.raises(ColdrootError),
            open_token(load_hsm_settings(story.base / "hsm.toml"), known, secret.user_pin()),
        ):
            pass
    for command in (("inventory",), ("destroy",), ("crl", "yearly")):
        refused = story.act(*command)
        assert (refused.exit_code, "was destroyed" in refused.stderr) == (1, True)
    verified = story.run("verify", story.directory)
    assert verified.exit_code == 0, verified.stderr
    assert "2 keys were destroyed and proven absent" in verified.output


def test_a_stray_or_missing_object_stops_every_act(begun: Story, tmp_path: Path) -> None:
    """A key that nobody recorded is one that nobody proved; a missing one is somebody's."""
    story = begun.copy(tmp_path / "story")
    settings, serial = (
        load_hsm_settings(story.base / "hsm.toml"),
        str(_records(story, "token-initialised")[0]["serial"]),
    )
    with open_token(settings, serial, _secret(story).user_pin()) as token:
        stray = token.generate(keys.KeyKind.EC_P256, label="stray")
    for command in (("inventory",), ("crl", "yearly"), ("rollover", "next")):
        done = story.act(*command)
        assert (done.exit_code, "'stray'" in done.stderr, "no record tells of" in done.stderr) == (1, True, True)
    assert not list(story.directory.rglob("*.crl"))
    with open_token(settings, serial, _secret(story).user_pin()) as token:
        token.destroy(stray.key_id)
    assert story.act("inventory").exit_code == 0
    # The acts that stopped told the truth: the record of it verifies.
    verified = story.run("verify", story.directory)
    assert verified.exit_code == 0, verified.stderr
    with open_token(settings, serial, _secret(story).user_pin()) as token:
        token.destroy(bytes.fromhex(str(_records(story, "key-generated")[0]["id"])))
    done = story.act("inventory")
    assert (done.exit_code, "the token lacks the" in done.stderr) == (1, True)


def test_inventories_are_recorded(finished: Story) -> None:
    """What was in the token before and after is the only evidence that nothing came or went unseen."""
    taken = _records(finished, "inventory-taken")
    assert [body["moment"] for body in taken[:4]] == ["before", "after"] * 2
    assert taken[0]["objects"] == []
    kinds = [(row["kind"], row["label"]) for row in taken[-1]["objects"]]  # type: ignore[attr-defined]
    assert kinds == [(kind, label) for kind in PAIR for label in ("root", "root-2")]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("crl", "monthly"), "the plan has no act crl:monthly"),
        (("cross", "nobody", "partner-root.crt"), "the plan has no act cross:nobody"),
        (("rollover", "last"), "the plan has no act rollover:last"),
        (("restore-test",), "no backup was ever made"),
        (("cross", "partner", "ceremony/root.crt"), "not the planned one"),
        (("cross", "partner", "plan.toml"), "no PEM certificate"),
        (("cross", "partner", "missing.crt"), "does not exist"),
    ],
)
def test_what_is_refused_leaves_no_trace(begun: Story, tmp_path: Path, command: Sequence[str], said: str) -> None:
    """A mistake before the quorum must cost nothing, in a dry run as in the act."""
    story = begun.copy(tmp_path / "story")
    before = story.snapshot()
    paths = [str(story.base / each) if "." in each else each for each in command[1:]]
    for more in (["--dry-run"], []):
        done = story.act(command[0], *paths, *more)
        assert (done.exit_code, said in done.stderr) == (1, True), done.stderr
        assert story.snapshot() == before


def test_nothing_is_signed_twice(finished: Story, tmp_path: Path) -> None:
    """A second signature under the same name would be one that nobody agreed on."""
    story = finished.copy(tmp_path / "story")
    before = story.snapshot()
    for command in (("crl", "yearly"), ("cross", "partner", str(story.other_root)), ("rollover", "next")):
        done = story.act(*command)
        assert (done.exit_code, "already" in done.stderr) == (1, True), done.stderr
    assert story.snapshot() == before


def test_dry_runs_touch_nothing(begun: Story, tmp_path: Path) -> None:
    """Who only looks at what would be done must not have done it."""
    story = begun.copy(tmp_path / "story")
    before = story.snapshot()
    for command in (("crl", "yearly"), ("cross", "partner", str(story.other_root)), ("rollover", "next"), ("backup",),
                    ("destroy",)):  # fmt: skip
        done = story.act(*command, "--dry-run")
        assert done.exit_code == 0, done.stderr
        assert "nothing is touched" in done.output
    assert story.snapshot() == before
    foreseen = story.act("crl", "yearly", "--dry-run").output
    assert story.act("crl", "yearly").exit_code == 0
    for body in _records(story, "list-issued"):
        # What would be signed is known to the last byte before the day.
        assert str(body["tbs_sha256"]) in foreseen


def test_name_constraints_are_shown_on_samples(begun: Story, tmp_path: Path) -> None:
    """A constraint that does not do what people read in it must be noticed before it is signed."""
    story = begun.copy(tmp_path / "story")
    lines = (story.directory / "transcript.jsonl").read_bytes().splitlines(keepends=True)
    closed = next(number for number, line in enumerate(lines) if b'"kind":"act-opened"' in line)
    (story.directory / "transcript.jsonl").write_bytes(b"".join(lines[:closed]))
    for path in (story.directory / "alpha.crt", *story.crossing.glob("reply*")):
        path.unlink()
    request = story.crossing / "request.bundle"
    sampled = story.run(
        "rehearse", "intermediate", "--dir", story.directory, "--hsm", story.base / "hsm.toml", "--words-file",
        story.words, "--out", story.crossing, "--dry-run", "--sample", "api.example.com", "--sample", "192.0.2.1",
        "--sample", "x.secret.example.com", request,
    )  # fmt: skip
    assert sampled.exit_code == 0, sampled.stderr
    assert "permitted  api.example.com" in sampled.stderr
    assert "REFUSED    192.0.2.1" in sampled.stderr
    assert "REFUSED    x.secret.example.com" in sampled.stderr
    done = story.intermediate(request)
    assert "REFUSED    notexample.com" in done.stderr


def test_hsm_info_needs_no_pin(begun: Story) -> None:
    """Before anything begins, people compare the serial on the device with the one that the program sees."""
    done = begun.run("hsm", "info", "--hsm", begun.base / "hsm.toml", "--json")
    tokens = json.loads(done.stdout)
    assert [(each["label"], each["chosen"]) for each in tokens if each["initialised"]] == [("root", True)]
    assert tokens[0]["longest_pin"] >= 32
    assert tokens[0]["profile"] == "softhsm"
    assert {"ec-p384", "rsa"} <= set(tokens[0]["makes"])
    assert "ml-dsa-65" not in tokens[0]["makes"]
    shown = begun.run("hsm", "info", "--hsm", begun.base / "hsm.toml")
    assert "  profile   softhsm\n" in shown.stdout


def test_no_secret_is_written_or_shown(finished: Story) -> None:
    """The wrapping key, like a PIN, would make a copy of the record a copy of the key."""
    secret = _secret(finished)
    hidden = [secret.backup_key(), secret.backup_key().hex().encode(), secret.user_pin(), secret.so_pin()]
    for name, content in finished.snapshot().items():
        if not name.startswith("ceremony/sheets/share") and name != "words.txt":
            assert not any(each.lower() in content.lower() for each in hidden), name


def test_the_calendar_stops_at_what_the_plan_cannot_mean(tmp_path: Path, partner: Partner) -> None:
    """Lists that begin before the root, outlive it, or have ended already help nobody."""
    story = Story(tmp_path)
    story.begin(partner, plan_text(partner))
    alpha_less = story.act("crl", "revoking")
    assert (alpha_less.exit_code, "alpha was never issued here" in alpha_less.stderr) == (1, True)
