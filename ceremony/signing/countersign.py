"""People's signatures over the head of a transcript: who signed which head, by which key.

Officers, witnesses and the auditor sign a small statement that holds the head's digest, each with a key of their own:
an SSH key (``ssh-keygen -Y sign``) or a minisign key. The signatures lie beside the transcript, never in it: a record
of a signature would change the head that was signed. In ``signatures/``:

* ``allowed_signers``: whose SSH key is whose, in OpenSSH's format; ``minisign_keys``: the same for minisign;
* ``NAME.HEAD.sshsig`` and ``NAME.HEAD.minisig``, HEAD being the first 16 digits of the head that was signed.

What it proves: the holder of that key stood by the transcript up to that record. Whose key it is, these files say
themselves; an auditor who knows the keys from elsewhere gives a list of their own instead.

Invariant: every file in the directory is accounted for, and each has one form: no byte of it can change unnoticed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ceremony.plan import Plan
from ceremony.plan_history import PlanHistory
from ceremony.signing.minisign import MinisignKey, read_key, read_minisig
from ceremony.signing.openssh import openssh_verifies
from ceremony.signing.sshsig import NAMESPACE, load_key, read_sshsig
from ceremony.transcript import Record
from shared import durable
from shared.crossing.words import digest_words
from shared.errors import RequestRejected, Unauthenticated

DIRECTORY, SSH_SIGNERS, MINISIGN_KEYS = "signatures", "allowed_signers", "minisign_keys"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_HEAD_DIGITS = 16
_SSH, _MINISIGN = "sshsig", "minisig"
_OPTION = f'namespaces="{NAMESPACE}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Signers:
    """Whose key is whose."""

    ssh: Mapping[str, bytes]
    """From a name to the blob of an SSH key."""
    minisign: Mapping[str, MinisignKey]


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterSignature:
    """One signature that holds."""

    name: str
    key: str
    """The key's fingerprint."""
    record: Record
    """The record whose digest was signed: everything up to it."""
    role: str
    """What the plan calls the signer; empty when it does not know them."""


def statement(head: bytes) -> bytes:
    """Return what is signed for a head.

    Args:
        head: a record's SHA-256.
    """
    return f"coldroot transcript head\nsha256 {head.hex()}\nwords {' '.join(digest_words(head))}\n".encode("ascii")


def read_signers(ssh: bytes, minisign: bytes = b"") -> Signers:
    """Read the lists of keys: one signer a line, nothing else in it.

    Args:
        ssh: lines ``NAME TYPE BASE64``, with ``namespaces="coldroot-transcript"`` after the name or without it.
        minisign: lines ``NAME BASE64``.

    Raises:
        RequestRejected: ``signature.bad-signers`` or ``signature.unusable-key``, naming the line.
    """
    found: dict[str, bytes] = {}
    for number, (name, *words) in _lines(ssh, SSH_SIGNERS):
        kind, encoded = words[-2:] if len(words) in {2, 3} else ("", "")
        if len(words) == 3 and words[0] != _OPTION:  # noqa: PLR2004 (option, type, key)
            kind = ""
        found[_new(name, found, number, SSH_SIGNERS)] = _blob(kind, encoded, number)
    others: dict[str, MinisignKey] = {}
    for number, (name, *words) in _lines(minisign, MINISIGN_KEYS):
        others[_new(name, others, number, MINISIGN_KEYS)] = read_key(" ".join(words))
    return Signers(ssh=found, minisign=others)


def filed_signers(directory: Path) -> Signers:
    """Read the lists that lie beside a transcript; a list that is not there is empty.

    Raises:
        RequestRejected: as ``read_signers``, or ``file.*``.
    """
    place = directory / DIRECTORY
    ssh, minisign = (_content(place / name) for name in (SSH_SIGNERS, MINISIGN_KEYS))
    return read_signers(ssh, minisign)


def file_signature(directory: Path, records: Sequence[Record], name: str, data: bytes, signers: Signers) -> Path:
    """Check a signature over the transcript's head and put it beside the transcript.

    Args:
        directory: the ceremony's.
        records: of the transcript, verified.
        name: whose it is, as the list of signers calls them.
        data: the signature's file, of either kind.
        signers: whose key is whose.

    Returns:
        Where it lies now.

    Raises:
        Unauthenticated: ``signature.wrong`` or ``signature.unknown-signer``.
        RequestRejected: ``signature.malformed`` or ``file.exists``.
        StoreFailed: ``file.write-failed``.
    """
    head = records[-1].digest
    if data.startswith(b"untrusted comment:"):
        kind, data = _MINISIGN, read_minisig(data).encode()
    else:
        kind = _SSH
    _check(kind, name, data, head, signers)
    place = directory / DIRECTORY
    durable.make_directory(place)
    path = place / f"{name}.{head.hex()[:_HEAD_DIGITS]}.{kind}"
    durable.write_new(path, data)
    return path


def counter_signatures(
    directory: Path, records: Sequence[Record], plans: PlanHistory, *, signers: Signers | None = None
) -> Iterator[CounterSignature]:
    """Check every signature that lies beside a transcript.

    Args:
        directory: the ceremony's.
        records: of the transcript, verified.
        plans: tell the signers' roles on each day.
        signers: whose key is whose, from elsewhere; ``None`` believes the list that lies here.

    Raises:
        RequestRejected: ``signature.*``, ``verify.signatures.stray`` for a file that is none of ours.
        Unauthenticated: ``signature.wrong`` or ``signature.unknown-signer``.
        Fatal: ``second-opinion.refused`` when OpenSSH does not accept what we accept.
    """
    place = directory / DIRECTORY
    if not place.is_dir():
        return
    known = signers if signers is not None else filed_signers(directory)
    for path in sorted(place.iterdir()):
        if path.name in {SSH_SIGNERS, MINISIGN_KEYS}:
            continue
        name, head, kind = ["", "", "", *path.name.rsplit(".", 2)][-3:]
        record = next((each for each in records if each.digest.hex()[:_HEAD_DIGITS] == head), None)
        if record is None or kind not in {_SSH, _MINISIGN} or _NAME.fullmatch(name) is None:
            raise RequestRejected(
                "verify.signatures.stray", f"{DIRECTORY}/{path.name} is no signature over a head of this transcript"
            )
        key = _check(kind, name, durable.read_file(path), record.digest, known)
        yield CounterSignature(name=name, key=key, record=record, role=_role(plans.at(record.seq), name))


def _check(kind: str, name: str, data: bytes, head: bytes, signers: Signers) -> str:
    message = statement(head)
    if kind == _MINISIGN:
        key = signers.minisign.get(name)
        minisig = read_minisig(data)
        if key is None:
            raise _unknown(name, MINISIGN_KEYS)
        if minisig.encode() != data:
            raise RequestRejected(
                "signature.malformed", f"the signature of {name} has another form than it was filed in"
            )
        minisig.check(key, message)
        return key.fingerprint
    blob = signers.ssh.get(name)
    sshsig = read_sshsig(data)
    if blob is None or sshsig.key != blob:
        raise _unknown(name, SSH_SIGNERS)
    sshsig.check(message)
    openssh_verifies(name, blob, message=message, signature=data)
    return sshsig.fingerprint


def _unknown(name: str, listed: str) -> Unauthenticated:
    return Unauthenticated(
        "signature.unknown-signer",
        f"{name} signed with a key that {listed} does not give them",
        hint=f"put their public key into {listed}, after comparing its fingerprint with them",
    )


def _role(plan: Plan, name: str) -> str:
    people = {
        **dict.fromkeys(plan.shares.custodians, "custodian"),
        **{name: "custodian" for each in plan.rotations for name in each.shares.custodians},
        **dict.fromkeys(plan.roles.witnesses, "witness"),
        plan.roles.auditor: "auditor",
        plan.roles.administrator: "administrator",
    }
    found = [role for person, role in people.items() if person.casefold().replace(" ", "-") == name.casefold()]
    return found[0] if found else ""


def _lines(data: bytes, listed: str) -> Iterator[tuple[int, list[str]]]:
    text = data.decode("ascii", "replace")
    if text and not text.endswith("\n"):
        raise _bad(listed, text.count("\n") + 1)
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        yield number, line.split(" ")


def _new(name: str, found: Mapping[str, object], number: int, listed: str) -> str:
    if _NAME.fullmatch(name) is None or name in found:
        raise _bad(listed, number)
    return name


def _blob(kind: str, encoded: str, number: int) -> bytes:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError:
        blob = b""
    if base64.b64encode(blob).decode("ascii") != encoded or kind.encode() != blob[4 : 4 + len(kind)] or not kind:
        raise _bad(SSH_SIGNERS, number)
    load_key(blob)
    return blob


def _content(path: Path) -> bytes:
    return durable.read_file(path) if path.exists() else b""


def _bad(listed: str, number: int) -> RequestRejected:
    form = "NAME TYPE KEY" if listed == SSH_SIGNERS else "NAME KEY"
    return RequestRejected(
        "signature.bad-signers",
        f"{listed} line {number} is not a new signer's: {form}, one space between them",
        hint="no comments, no empty lines; names have no spaces: Grace-Hopper",
    )
