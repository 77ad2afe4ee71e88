"""The next intermediate of a node that is in use: its key and its request, then the change to it.

``online intermediate request`` makes what waits for the ceremony; ``online import`` puts it into service. The steps of
the change (the numbers return in the code):

1. the certificate appears under a name of its own; the key lies under its own since the request;
2. ca.json is replaced in one step: it names the new pair, and the certificate before as a former one, so that what that
   issued can still be renewed;
3. what waited is forgotten.

Invariants: no key and no certificate that was ever in use is overwritten or moved, so ca.json is the only thing that
changes, and a power cut leaves the old pair in use or the new one. The new key has the password of the old: whoever
starts the node needs no other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from online.config import Config, load_config
from online.config.edit import edit_config
from online.establish import Rng, request_bundle
from online.hierarchy import read_chain
from online.home import Home
from online.key_choice import KeyChoice
from online.strict_json import Fields, parse_json, parse_object
from shared import durable, names
from shared.crossing import bundle, transfer
from shared.crossing.words import digest_words
from shared.errors import RequestRejected
from shared.keys import PrivateKey, certificate_key, public_key_digest
from shared.keystore import create_key, open_key, private_key_pem
from shared.keystore.uri import Pkcs11Uri, parse_key_uri
from shared.names import common_name_of
from shared.pem import certificate_pem
from shared.terminal import SecretCallback

_MARK_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A key whose certificate the ceremony has yet to make."""

    key: str
    """As ca.json will have it: a path that hangs on the home, or a ``pkcs11:`` URI."""
    request: Path
    """The request that went to the ceremony."""
    certificate: str
    """Where the certificate will be, as ca.json will have it."""

    def is_answered_by(self, reply: bundle.Bundle) -> bool:
        """Tell whether a reply is for this request."""
        return reply.in_reply_to == hashlib.sha256(_read_request(self.request)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the operator asks for."""

    key: KeyChoice
    key_uri: str | None = None
    """``pkcs11:…`` of the new key; a file under ``secrets/`` when not given."""
    key_exists: bool = False
    """The HSM already holds it."""
    common_name: str | None = None
    """Of the new intermediate; the present one's, unless given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """What now waits for the ceremony."""

    key: str
    bundle: tuple[Path, ...]
    """The request: the file, then its QR images."""
    words: tuple[str, ...]
    """Its digest in words."""


def request_next(
    home: Home, crossing: Path, wishes: Wishes, *, secret: SecretCallback, rng: Rng = os.urandom
) -> Requested:
    """Make a key and a request for the next intermediate, beside the one in use.

    Args:
        home: of a node that is in use.
        crossing: directory for the request bundle and its QR images.
        wishes: what is asked for.
        secret: asked for the password of the key in use, or the PIN of the HSM.
        rng: returns the asked number of random bytes.

    Raises:
        RequestRejected: ``intermediate.*``, ``config.*``, ``name.*``, ``file.*``, ``key.*``, ``hsm.*``.
        Unauthenticated: the password or PIN is wrong.
        StoreFailed: ``file.write-failed``; nothing waits.
    """
    config = load_config(home.config)
    if home.next_intermediate.exists():
        raise RequestRejected(
            "intermediate.waiting",
            "a next intermediate was requested already",
            hint=f"import the ceremony's reply, or give the request up: remove {home.next_intermediate}",
        )
    subject = _subject(read_chain(config.crt)[0].subject, wishes.common_name)
    owner = _owner(home)
    with _new_key(config, wishes, secret, rng) as (key, encrypted):
        mark = public_key_digest(key.public_key())[:_MARK_LENGTH]
        request = request_bundle(subject, key, rng)
    key_file = home.path / "secrets" / f"intermediate_ca_key-{mark}"
    waiting = {
        "key": wishes.key_uri or str(key_file.relative_to(home.path)),
        "request": f"certs/intermediate_request-{mark}.bundle",
        "certificate": f"certs/intermediate_ca-{mark}.crt",
    }
    durable.make_directory(crossing)
    with durable.Staging() as staging:
        carried = transfer.stage_bundle(staging, crossing, f"request-{mark}", request)
        if encrypted is not None:
            staging.add(key_file, encrypted, mode=durable.PRIVATE, owner=owner)
        staging.add(home.path / waiting["request"], request, owner=owner)
        # Last: without it, nothing waits.
        staging.add(home.next_intermediate, (json.dumps(waiting, indent="\t") + "\n").encode(), owner=owner)
    return Requested(key=waiting["key"], bundle=tuple(carried), words=digest_words(bundle.digest(request)))


def load_waiting(home: Home) -> Waiting | None:
    """Return what waits for the ceremony, if anything does.

    Raises:
        RequestRejected: ``intermediate.*`` or ``file.*``.
    """
    if not home.next_intermediate.exists():
        return None
    document = parse_json(
        durable.read_file(home.next_intermediate), what=f"file {home.next_intermediate}", room="intermediate"
    )
    fields = Fields(document, path="", known={"key", "request", "certificate"})
    return Waiting(
        key=fields.text("key"), request=home.path / fields.text("request"), certificate=fields.text("certificate")
    )


def put_into_service(home: Home, waiting: Waiting, intermediate: x509.Certificate, *, keep_former: bool) -> None:
    """Change to the next intermediate, whose certificate was judged before.

    Args:
        home: of the node.
        waiting: what was requested.
        intermediate: the ceremony's answer.
        keep_former: whether what the present intermediate issued can still be renewed.

    Raises:
        RequestRejected: ``config.*`` or ``file.*``.
        StoreFailed: ``file.write-failed``; ca.json is the old one.
    """
    # 1. One that is there from an attempt that a power cut ended was never in use.
    path = home.path / waiting.certificate
    durable.replace(path, certificate_pem(intermediate), owner=_owner(home))

    def change(text: str) -> str:
        document = parse_object(text.encode(), what="configuration", room="config")
        before = document["crt"]
        document |= {"crt": waiting.certificate, "key": waiting.key}
        if keep_former:
            own = document.get("coldroot")
            block = dict(own) if isinstance(own, dict) else {}
            known = block.get("formerIntermediates")
            # The new one is there already where several nodes change one after the other.
            others = (
                [each for each in known if each not in {before, waiting.certificate}] if isinstance(known, list) else []
            )
            block["formerIntermediates"] = [before, *others]
            document["coldroot"] = block
        return json.dumps(document, indent="\t", ensure_ascii=False) + "\n"

    # 2.
    edit_config(home.config, change)
    # 3.
    forget_waiting(home)


def forget_waiting(home: Home) -> None:
    """Let nothing wait any more; the key stays."""
    with contextlib.suppress(OSError):
        home.next_intermediate.unlink()


def _read_request(path: Path) -> bytes:
    return durable.read_file(path, limit=bundle.LARGEST_BUNDLE_BYTES)


def _subject(present: x509.Name, common_name: str | None) -> x509.Name:
    if common_name is None or common_name == common_name_of(present):
        return present
    organisations = present.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    return names.subject(common=common_name, organization=str(organisations[0].value) if organisations else "")


def _owner(home: Home) -> tuple[int, int] | None:
    """Return whose the node's files are, when root does this for another user."""
    return durable.foreign_owner(home.config.stat())


@contextlib.contextmanager
def _new_key(
    config: Config, wishes: Wishes, secret: SecretCallback, rng: Rng
) -> Iterator[tuple[PrivateKey, bytes | None]]:
    """Make the key; in a file, yield what shall stand there, too.

    Before, the key in use is opened: so the password is the one that the node has.
    """
    told: list[bytes] = [] if config.password is None else [config.password.encode()]

    def once(prompt: str) -> bytes:
        if not told:
            told.append(secret(prompt))
        return told[0]

    if wishes.key_uri is not None:
        if not wishes.key_exists:
            create_key(wishes.key_uri, wishes.key.kind, once, rsa_bits=wishes.key.rsa_bits, base=config.home)
        with open_key(wishes.key_uri, once, base=config.home) as key:
            yield key, None
        return
    if isinstance(parse_key_uri(config.key, base=config.home), Pkcs11Uri):
        raise RequestRejected(
            "intermediate.key",
            "the key in use is in an HSM",
            hint="say where the next one shall be: --key-uri pkcs11:…",
        )
    with open_key(config.key, once, base=config.home) as present:
        if not told:
            raise RequestRejected(
                "intermediate.key", "the key in use has no password, which the next one shall have, too",
                hint="give it one: online change-pass",
            )  # fmt: skip
        if present.public_key() != certificate_key(read_chain(config.crt)[0]):
            raise RequestRejected("intermediate.key", "the key in use does not belong to the intermediate in use")
    key = wishes.key.generate()
    yield key, private_key_pem(key, told[0], rng=rng)
