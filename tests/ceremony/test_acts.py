"""The acts on a real (soft) HSM: what they leave, what they refuse, and what they never write down."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from fakes.keyboard import typed, types
from fakes.rehearsal import SUBJECT, Rehearsal, fit_host, full_rehearsal, no_hardening, request_bundle
from fakes.softhsm import needs_softhsm

from ceremony import hsm, shares
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.conduct.intermediate import sign_intermediate
from ceremony.conduct.root import create_root
from ceremony.conduct.setting import Setting
from ceremony.hsm import load_hsm_settings
from ceremony.plan import EXAMPLE, load_plan
from ceremony.records import Mode
from ceremony.terminal import AtTerminal
from shared import keys, names, terminal
from shared.clock import SystemClock
from shared.crossing.words import digest_words
from shared.errors import ColdrootError, Fatal, PolicyDenied, RequestRejected
from shared.pem import load_certificate

pytestmark = needs_softhsm


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardening(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """One finished rehearsal, never changed: tests copy it."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        yield full_rehearsal(tmp_path_factory.mktemp("finished"))


def test_what_a_rehearsal_leaves(finished: Rehearsal) -> None:
    """The hierarchy must be one that others accept, and lie where the runbook says."""
    left = {path.name for path in finished.directory.iterdir()}
    assert left == {"plan.toml", "transcript.jsonl", "root.crt", "intermediate.crt", "sheets", "tokens"}
    assert {path.name for path in (finished.directory / "sheets").glob("share-*.pdf")} == {
        f"share-{index}.pdf" for index in range(1, 6)
    }
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", finished.directory / "root.crt",
         finished.directory / "intermediate.crt"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    root = load_certificate((finished.directory / "root.crt").read_bytes())
    usage = root.extensions.get_extension_for_class(x509.KeyUsage)
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (
        True, True, True, False,
    )  # fmt: skip
    assert (constraints.critical, constraints.value.path_length) == (True, 1)
    assert keys.kind_of(keys.certificate_key(root)) is keys.KeyKind.EC_P384
    assert (root.not_valid_after_utc - root.not_valid_before_utc).days in {3651, 3652}


def test_file_and_images_are_one_bundle(finished: Rehearsal) -> None:
    """Two media that carry different bytes would make people compare different digests."""
    from shared.crossing.bundle import Purpose  # noqa: PLC0415 (only here)
    from shared.crossing.transfer import read_bundle  # noqa: PLC0415

    for stem, purpose in (("request", Purpose.INTERMEDIATE_REQUEST), ("reply", Purpose.INTERMEDIATE_REPLY)):
        file = finished.crossing / f"{stem}.bundle"
        images = sorted(finished.crossing.glob(f"{stem}-*.png"))
        assert images
        assert read_bundle([file], purpose=purpose)[1] == read_bundle(images[::-1], purpose=purpose)[1]


def test_no_secret_is_written_or_shown(tmp_path: Path) -> None:
    """A transcript with a PIN or share in it could never be published; a log with one is a leak for ever."""
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare()
    shown = rehearsal.root()
    request, *_ = rehearsal.request(request_bundle(keys.generate(keys.KeyKind.EC_P256)))
    shown_again = rehearsal.intermediate(request)
    assert (shown.exit_code, shown_again.exit_code) == (0, 0)
    entered = shares.read_words_file(rehearsal.words)
    dealt = json.loads(_record(rehearsal, "shares-dealt"))["body"]
    del dealt["quorums_proven"], dealt["act"]
    secret = shares.combine(entered, shares.commitments_from_json(dealt))
    hidden = [secret.value, secret.value.hex().encode(), secret.user_pin(), secret.so_pin()]
    # Three words in a row are no accident; single words of the list are ordinary English.
    hidden += [" ".join(share.words[at : at + 3]).encode() for share in entered for at in range(len(share.words) - 2)]
    places = {
        name: content
        for name, content in rehearsal.snapshot().items()
        if not name.startswith("ceremony/sheets/share") and name != "words.txt"
    }
    places |= {"talk": (shown.output + shown_again.output).encode()}
    places |= {str(path): path.read_bytes() for path in (rehearsal.directory / "tokens").rglob("*") if path.is_file()}
    for name, content in places.items():
        for secret_text in hidden:
            assert secret_text.lower() not in content.lower(), name


def test_private_modes(finished: Rehearsal) -> None:
    """Sheets and words that others on the machine can read are no secret."""
    private = [finished.words, *(finished.directory / "sheets").glob("share-*.pdf")]
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert (finished.directory / "sheets").stat().st_mode & 0o777 == 0o700


def test_a_hierarchy_is_never_overwritten(finished: Rehearsal, tmp_path: Path) -> None:
    """A second run into the same directory must not touch the first root."""
    again = finished.copy(tmp_path / "copy")
    before = again.snapshot()
    done = again.run(
        "rehearse", "root", "--plan", again.base / "plan.toml", "--hsm", again.base / "hsm.toml",
        "--dir", again.directory, "--words-file", again.base / "other.txt",
    )  # fmt: skip
    assert done.exit_code == 1
    assert "already holds a ceremony" in done.stderr
    assert again.snapshot() == before
    assert again.root().exit_code == 1  # the words file exists
    assert again.snapshot() == before


def test_an_intermediate_is_signed_once(finished: Rehearsal, tmp_path: Path) -> None:
    """Two certificates for one subject and plan would be one that nobody agreed on."""
    again = finished.copy(tmp_path / "copy")
    before = again.snapshot()
    done = again.intermediate(again.crossing / "request.bundle")
    assert (done.exit_code, "already signed" in done.stderr) == (1, True)
    assert again.snapshot() == before


@pytest.fixture
def rooted(tmp_path: Path, finished: Rehearsal) -> Rehearsal:
    """A rehearsal whose root act alone is done."""
    rehearsal = Rehearsal(tmp_path / "rooted")
    finished.copy(rehearsal.base)
    lines = (rehearsal.directory / "transcript.jsonl").read_bytes().splitlines(keepends=True)
    closed = next(number for number, line in enumerate(lines) if b'"kind":"act-closed"' in line)
    (rehearsal.directory / "transcript.jsonl").write_bytes(b"".join(lines[: closed + 1]))
    for path in (rehearsal.directory / "intermediate.crt", *rehearsal.crossing.iterdir()):
        path.unlink()
    return rehearsal


def _words_with(change: Callable[[list[str]], list[str]]) -> Callable[[Rehearsal], None]:
    def apply(rehearsal: Rehearsal) -> None:
        lines = rehearsal.words.read_text().splitlines()
        rehearsal.words.write_text("\n".join(change(lines)) + "\n")

    return apply


def _mistype(lines: list[str]) -> list[str]:
    words = lines[-1].split(" ")
    words[7] = "xxxx"
    return [*lines[:-1], " ".join(words)]


def _swap(lines: list[str]) -> list[str]:
    words = lines[-1].split(" ")
    words[20], words[21] = words[21], words[20]
    return [*lines[:-1], " ".join(words)]


def _foreign(lines: list[str]) -> list[str]:
    from ceremony.secret import CeremonySecret  # noqa: PLC0415 (only here)

    other = shares.split(
        CeremonySecret(value=os.urandom(32)), shape=shares.one_group(threshold=3, count=5), rng=os.urandom
    )
    return [*lines[:-1], f"5: {' '.join(other.shares[4].words)}"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_words_with(_mistype), "word 7 is not in the word list"),
        (_words_with(_swap), "the words do not fit together"),
        (_words_with(lambda lines: lines[:3]), "needed: 1 more of the custodians"),
        (_words_with(_foreign), "share 5"),
        (_words_with(lambda lines: [*lines[:-1], lines[-2]]), "share 4 was entered twice"),
        (lambda rehearsal: rehearsal.words.chmod(0o644), "can be read by others"),
        (lambda rehearsal: rehearsal.words.unlink(), "does not exist"),
        (lambda rehearsal: (rehearsal.directory / "plan.toml").write_text(EXAMPLE + "\n"), "not the plan"),
        (lambda rehearsal: (rehearsal.directory / "root.crt").unlink(), "root.crt does not exist"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_shares_and_files(rooted: Rehearsal, damage: Callable[[Rehearsal], object], said: str) -> None:
    """A tired person must be told which share and which word; and no certificate may come out."""
    request, *_ = rooted.request(request_bundle(keys.generate(keys.KeyKind.EC_P256)))
    damage(rooted)
    done = rooted.intermediate(request)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (rooted.directory / "intermediate.crt").exists()
    assert not list(rooted.crossing.glob("reply*"))


def test_bad_requests_leave_no_trace(rooted: Rehearsal) -> None:
    """Whatever is wrong with what crossed the gap, the ceremony's directory stays as it was."""
    key = keys.generate(keys.KeyKind.EC_P256)
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 (weak on purpose)
    cases = {
        "the plan has no intermediate": request_bundle(key, subject=names.subject(common="Somebody else")),
        "not signed by the key": request_bundle(key, damage=True),
        "1024 bits": request_bundle(weak),
    }
    before = rooted.snapshot()
    for said, encoded in cases.items():
        files = rooted.request(encoded)
        done = rooted.intermediate(files[0])
        assert (done.exit_code, said in done.stderr) == (1, True), done.stderr
        for file in files:
            file.unlink()
        assert rooted.snapshot() == before
    # An RSA key makes the request too large for one code.
    files = rooted.request(request_bundle(keys.generate(keys.KeyKind.RSA)))
    assert len(files) > 2
    before = rooted.snapshot()
    done = rooted.intermediate(files[1], *files[3:])
    assert (done.exit_code, "frame 2 of" in done.stderr) == (1, True), done.stderr
    tampered = rooted.crossing / "request.bundle"
    tampered.write_bytes(tampered.read_bytes().replace(b'"identifier":"ab', b'"identifier":"cd'))
    before = rooted.snapshot()
    done = rooted.intermediate(tampered)
    assert done.exit_code == 1
    assert rooted.snapshot() == before


def test_the_requests_extensions_decide_nothing(rooted: Rehearsal) -> None:
    """A request that asks for a longer path would otherwise become a CA of CAs."""
    asked = [x509.BasicConstraints(ca=True, path_length=7), x509.SubjectAlternativeName([x509.DNSName("evil.example")])]
    request, *_ = rooted.request(request_bundle(keys.generate(keys.KeyKind.EC_P256), extensions=asked))
    done = rooted.intermediate(request)
    assert done.exit_code == 0, done.stderr
    assert "ignored: the request asks for extensions" in done.stderr
    made = load_certificate((rooted.directory / "intermediate.crt").read_bytes())
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert len(list(made.extensions)) == 4


def test_a_real_ceremony_needs_a_fit_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root made on a networked machine is not an offline root; nothing may be written there."""
    fit_host(monkeypatch, fit=False)
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare()
    before = rehearsal.snapshot()
    done = rehearsal.run(
        "root", "create", "--plan", tmp_path / "plan.toml", "--hsm", tmp_path / "hsm.toml", "--dir", rehearsal.directory
    )
    assert (done.exit_code, "not fit for a ceremony: interfaces" in done.stderr) == (1, True)
    assert rehearsal.snapshot() == before


def test_a_real_ceremony_has_no_words_file(tmp_path: Path) -> None:
    """The option that would spoil a real root does not exist, and the act refuses it too."""
    done = Rehearsal(tmp_path).run("root", "create", "--words-file", "x")
    assert (done.exit_code, "No such option" in done.stderr) == (2, True)
    with pytest.raises(Fatal):
        create_root(_setting(Rehearsal(tmp_path), AtTerminal()), load_plan(EXAMPLE.encode()), b"", keep_shares=print)


def _setting(rehearsal: Rehearsal, people: AtTerminal) -> Setting:
    if not (rehearsal.base / "hsm.toml").exists():
        rehearsal.prepare()
    return Setting(
        directory=CeremonyDirectory(path=rehearsal.directory),
        hsm=load_hsm_settings(rehearsal.base / "hsm.toml"),
        people=people,
        clock=SystemClock(),
        rng=os.urandom,
        mode=Mode.REAL,
    )


def test_a_real_ceremony_with_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path that counts: custodians type their sheets, one makes a mistake, digest words are typed."""
    fit_host(monkeypatch, fit=True)
    dealt: list[shares.ShareSet] = []
    split = shares.split

    def overheard(*arguments: object, **options: object) -> shares.ShareSet:
        dealt.append(split(*arguments, **options))  # type: ignore[arg-type]
        return dealt[-1]

    confirmed: list[str] = []
    # 1 to 5: read back, with one mistake; then quorums of shares 2, 2 (again), 3, 4, and 1, 2, 5.
    order = [0, 1, 2, 3, 4, 1, 1, 2, 3, 0, 1, 4]

    def custodian(time: int) -> str:
        words = dealt[0].shares[order[time - 1]].words
        swapped = (*words[:7], words[8], words[7], *words[9:])
        # The mistake: swapped words are refused together; gone over again, they are right.
        return typed(swapped) + "\x15" + typed(words) if time == 2 else typed(words)

    def agrees(question: str) -> str:
        confirmed.append(question)
        return "yes" if len(confirmed) % 3 else "perhaps"

    monkeypatch.setattr(shares, "split", overheard)
    monkeypatch.setattr(terminal, "ask_line", agrees)
    rehearsal = Rehearsal(tmp_path)
    setting = _setting(rehearsal, AtTerminal(keyboard=types(custodian)))
    made = create_root(setting, load_plan(EXAMPLE.encode()), EXAMPLE.encode())
    assert len(confirmed) >= 10
    assert "a clock that is not this machine's" in confirmed[0]
    assert "Ada stands at the printer" in confirmed[1]
    assert len(made.head) == 32
    assert {path.name for path in (rehearsal.directory / "sheets").iterdir()} == {
        f"receipt-{number}.pdf" for number in range(1, 6)
    }
    encoded = request_bundle(keys.generate(keys.KeyKind.EC_P256))
    request, *_ = rehearsal.request(encoded)
    with pytest.raises(PolicyDenied) as denied:
        monkeypatch.setattr(terminal, "ask_line", lambda _: "")
        sign_intermediate(setting, [request], rehearsal.crossing)
    assert denied.value.code == "digest.not-confirmed"
    from shared.crossing.bundle import digest  # noqa: PLC0415 (only here)

    words = digest_words(digest(encoded))
    monkeypatch.setattr(terminal, "ask_line", lambda _: " ".join((*words[:2], *words[-2:])).upper())
    signed = sign_intermediate(setting, [request], rehearsal.crossing)
    assert signed.certificate.subject == SUBJECT
    done = rehearsal.run("verify", rehearsal.directory, "--head", signed.head.hex())
    assert done.exit_code == 0, done.stderr
    assert "rehearsal" not in done.output


def test_a_failed_act_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An act that stopped half-way must not look like one that never was, nor like a finished one."""

    def broken(*_: object, **__: object) -> None:
        raise Fatal("hsm.broken", "the HSM broke")

    monkeypatch.setattr(hsm, "generate_root_key", broken)
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare()
    done = rehearsal.root()
    assert (done.exit_code, "the HSM broke" in done.stderr) == (1, True)
    assert json.loads(_record(rehearsal, "act-failed"))["body"] == {"act": "root", "code": "hsm.broken"}
    request, *_ = rehearsal.request(request_bundle(keys.generate(keys.KeyKind.EC_P256)))
    done = rehearsal.intermediate(request)
    assert (done.exit_code, "did not finish" in done.stderr) == (1, True)
    assert rehearsal.run("verify", rehearsal.directory).exit_code == 1


def test_unprintable_names_are_refused_first(tmp_path: Path) -> None:
    """A name that the sheets cannot show must be noticed before the HSM is initialised."""
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare(EXAMPLE.replace("Ada", "阿达"))
    done = rehearsal.root()
    assert (done.exit_code, "cannot be printed" in done.stderr) == (1, True)
    assert not rehearsal.directory.exists()


def test_a_quorum_that_is_asked_too_often(finished: Rehearsal) -> None:
    """An endless prompt would let a machine guess; five tries, then the act ends."""
    dealt = json.loads(_record(finished, "shares-dealt"))["body"]
    del dealt["quorums_proven"], dealt["act"]
    commitments = shares.commitments_from_json(dealt)
    opening = commitments.opening_words
    wrong = typed((*opening, *(["academic"] * 31))) + "\r" * 9
    with pytest.raises(RequestRejected) as refused:
        AtTerminal(keyboard=types(lambda _: wrong)).quorum(commitments)
    assert refused.value.code == "share.too-many-attempts"


def test_wrong_words_never_reach_the_hsm(rooted: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that locks after a few wrong PINs must not be asked before the secret is known to be right."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the HSM was asked")

    monkeypatch.setattr(hsm, "open_token", never)
    _words_with(_foreign)(rooted)
    request, *_ = rooted.request(request_bundle(keys.generate(keys.KeyKind.EC_P256)))
    done = rooted.intermediate(request)
    assert (done.exit_code, "share 5" in done.stderr) == (1, True)


def _record(rehearsal: Rehearsal, kind: str) -> bytes:
    lines = (rehearsal.directory / "transcript.jsonl").read_bytes().splitlines()
    return next(line for line in lines if f'"kind":"{kind}"'.encode() in line)


def test_errors_are_ours(rooted: Rehearsal) -> None:
    """Anything but our own errors at the acts' boundary would be shown as an internal fault."""
    setting = _setting(rooted, AtTerminal())
    with pytest.raises(ColdrootError):
        sign_intermediate(setting, [rooted.base], rooted.crossing)
