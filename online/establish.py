"""``online init``: an issuing node up to the point where only the root's signature is missing.

The steps (the numbers return in the code):

1. everything that can be wrong with the wishes is found out, the finished configuration is read back by the
   node's own strict reader, and nothing that exists is touched;
2. two different passwords, the provisioner's key, encrypted under one of them;
3. the intermediate's key: in software, encrypted under the other, or in an HSM, where it cannot be unmade;
4. a request for its certificate, as a bundle to carry to the ceremony;
5. database and files appear; when anything fails, all of it goes away again.

Invariants: an existing hierarchy is never overwritten; private files are 0600 and their directories 0700 from the
first byte; no password is printed or logged.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from online.config import Config, parse_config, render_config
from online.config.database import refuse_password
from online.home import Defaults, Home
from online.https import CaUrl, parse_ca_url
from online.jose import jwe
from online.jose.jwk import PrivateJwk
from online.key_choice import KeyChoice
from online.provisioners.jwk import JwkProvisioner
from online.store.sqlite import create_database
from shared import durable, names
from shared.crossing import bundle, transfer
from shared.crossing.words import digest_words
from shared.errors import ColdrootError, RequestRejected
from shared.keys import KeyKind, PrivateKey, certificate_key, fingerprint, generate, kind_of, signature_hash
from shared.keystore import create_key, open_key, private_key_pem
from shared.pem import certificate_pem
from shared.terminal import SecretCallback

_PASSWORD_BYTES = 32
REQUEST_STEM = "request"

Rng = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the operator asks for; ``establish`` checks it."""

    name: str
    """The CA's name: becomes the organisation, and begins the intermediate's common name."""
    dns_names: tuple[str, ...]
    address: str
    provisioner: str
    common_name: str | None = None
    """The intermediate's common name, as the ceremony's plan has it; by default the name and ``Intermediate CA``."""
    ca_url: str | None = None
    """What clients shall use; by default the first DNS name with the port of the address."""
    root: x509.Certificate | None = None
    """The root, when it exists already."""
    pinned: str | None = None
    """Its SHA-256 fingerprint, when only that is known."""
    key_uri: str | None = None
    """``pkcs11:…`` of the intermediate's key; a file under ``secrets/`` when not given."""
    key_exists: bool = False
    """The HSM already holds the key."""
    key: KeyChoice = field(default_factory=KeyChoice)
    """Its kind."""
    key_password: bytes | None = field(default=None, repr=False)
    """Encrypts the key file; drawn and written under ``secrets/`` when not given."""
    provisioner_password: bytes | None = field(default=None, repr=False)
    """The same for the provisioner's key."""
    server: tuple[str, str] | None = field(default=None, repr=False)
    """Kind and address of a database on a server; a SQLite file under ``db/`` when not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Established:
    """What now stands."""

    files: tuple[Path, ...]
    """Every file that was made, a SQLite database included."""
    bundle: tuple[Path, ...]
    """The request for the ceremony: the file, then its QR images."""
    words: tuple[str, ...]
    """The digest of the request in words, for the people at the ceremony to compare."""
    ca_url: CaUrl


def establish(home: Home, crossing: Path, wishes: Wishes, *, pin: SecretCallback, rng: Rng = os.urandom) -> Established:
    """Make an issuing node and the request for its intermediate certificate.

    Args:
        home: where the node shall live; it must not hold a CA yet.
        crossing: directory for the request bundle and its QR images.
        wishes: what is asked for.
        pin: asked for the PIN of the HSM, when the key lives in one.
        rng: returns the asked number of random bytes.

    Raises:
        RequestRejected: ``init.exists``, ``init.root``, ``init.key``, ``init.password``, ``config.*``, ``name.*``,
            ``file.*``, ``hsm.*``.
        StoreFailed: ``file.write-failed`` or ``store.*``.
    """
    # 1.
    _refuse_existing(home, crossing)
    if wishes.key_exists and wishes.key_uri is None:
        raise RequestRejected("init.key", "only a key in an HSM can exist already", hint="give --key-uri pkcs11:…")
    subject = names.subject(common=wishes.common_name or f"{wishes.name} Intermediate CA", organization=wishes.name)
    pinned = _pinned(wishes)
    if wishes.server is not None:
        refuse_password(*wishes.server)
    _render(home, wishes, None, generate(KeyKind.EC_P256))
    # 2.
    provisioner_password = wishes.provisioner_password or _draw_password(rng)
    key_password = wishes.key_password or _draw_password(rng)
    signer = generate(KeyKind.EC_P256)
    encrypted = jwe.encrypt(PrivateJwk.of(signer).to_json_bytes(), provisioner_password, rng=rng)
    content, config = _render(home, wishes, encrypted, signer)
    ca_url = _ca_url(wishes, config)
    defaults = Defaults(ca_url=str(ca_url), fingerprint=pinned, root=home.root_certificate if pinned else None)
    secrets = {} if wishes.provisioner_password else {home.provisioner_password: provisioner_password + b"\n"}
    # 3.
    with _intermediate_key(wishes, pin, home.path) as key:
        if wishes.key_uri is None:
            secrets[home.intermediate_key] = private_key_pem(key, key_password, rng=rng)
            if not wishes.key_password:
                secrets[home.intermediate_password] = key_password + b"\n"
        # 4.
        request = request_bundle(subject, key, rng)
    public = {home.request: request, home.defaults: defaults.encode(home)}
    if wishes.root is not None:
        public[home.root_certificate] = certificate_pem(wishes.root)
    # 5.
    with _undone_on_failure(wishes) as made:
        for directory in (
            home.path,
            *sorted({each.parent for each in (*secrets, *public, home.config, home.database)}),
        ):
            made.directory(directory, private=True)
        made.directory(crossing, private=False)
        if wishes.server is None:
            create_database(home.database)
            made.files.append(home.database)
        with durable.Staging() as staging:
            carried = transfer.stage_bundle(staging, crossing, REQUEST_STEM, request)
            for path, each in secrets.items():
                staging.add(path, each, mode=durable.PRIVATE)
            for path, each in public.items():
                staging.add(path, each)
            # The configuration comes last: a node without it does not start, so a torn home is seen.
            staging.add(home.config, content)
    return Established(
        files=(*secrets, *public, home.config, *(() if wishes.server else (home.database,))),
        bundle=tuple(carried),
        words=digest_words(bundle.digest(request)),
        ca_url=ca_url,
    )


def _refuse_existing(home: Home, crossing: Path) -> None:
    ours = (
        home.config,
        home.defaults,
        home.root_certificate,
        home.intermediate_certificate,
        home.intermediate_key,
        home.intermediate_password,
        home.provisioner_password,
        home.request,
        home.database,
    )
    for path in ours:
        if os.path.lexists(path):
            raise RequestRejected(
                "init.exists",
                f"{home.path} already holds {path.relative_to(home.path)}: a hierarchy is never overwritten",
                hint="choose another --home, or move the old one away",
            )
    request = crossing / f"{REQUEST_STEM}{transfer.SUFFIX}"
    if os.path.lexists(request):
        raise RequestRejected("init.exists", f"{request} already exists", hint="choose another --crossing directory")


def _pinned(wishes: Wishes) -> str | None:
    """Return the fingerprint to pin, after checking that root and fingerprint agree."""
    if wishes.root is None:
        return wishes.pinned
    # A root of ML-DSA would be refused when the reply comes, after people met in a safe room for it.
    certificate_key(wishes.root)
    found = fingerprint(wishes.root)
    if wishes.pinned is not None and wishes.pinned != found:
        raise RequestRejected("init.root", "the root certificate does not have the fingerprint that was given")
    return found


def _render(home: Home, wishes: Wishes, encrypted_key: str | None, signer: PrivateKey) -> tuple[bytes, Config]:
    """Return the configuration, as bytes and as the node will read it."""
    provisioner = JwkProvisioner(
        name=wishes.provisioner,
        key=PrivateJwk.of(signer).public(),
        encrypted_key=encrypted_key,
    )
    database, data_source = wishes.server or ("sqlite", str(home.database.relative_to(home.path)))
    document = render_config(
        database=database,
        data_source=data_source,
        dns_names=wishes.dns_names,
        address=wishes.address,
        provisioners=[provisioner],
        key=wishes.key_uri or str(home.intermediate_key.relative_to(home.path)),
    )
    content = (json.dumps(document, indent="\t", ensure_ascii=False) + "\n").encode("utf-8")
    return content, parse_config(content, path=home.config)


def _ca_url(wishes: Wishes, config: Config) -> CaUrl:
    if wishes.ca_url is not None:
        return parse_ca_url(wishes.ca_url)
    return CaUrl(host=config.dns_names[0], port=config.address[1])


def _draw_password(rng: Rng) -> bytes:
    # The provisioner's encrypted key can be fetched by anybody: only its password's strength protects it.
    return base64.urlsafe_b64encode(rng(_PASSWORD_BYTES)).rstrip(b"=")


@contextlib.contextmanager
def _intermediate_key(wishes: Wishes, pin: SecretCallback, base: Path) -> Iterator[PrivateKey]:
    if wishes.key_uri is None:
        yield wishes.key.generate()
        return
    known: list[bytes] = []

    def once(prompt: str) -> bytes:
        if not known:
            known.append(pin(prompt))
        return known[0]

    if not wishes.key_exists:
        create_key(wishes.key_uri, wishes.key.kind, once, rsa_bits=wishes.key.rsa_bits, base=base)
    with open_key(wishes.key_uri, once, base=base) as key:
        yield key


def request_bundle(subject: x509.Name, key: PrivateKey, rng: Rng) -> bytes:
    """Return the encoded request for an intermediate: a name and a key; all else is the ceremony's to decide.

    Args:
        subject: of the intermediate.
        key: its private key, which signs the request.
        rng: returns the asked number of random bytes.
    """
    csr = x509.CertificateSigningRequestBuilder(subject).sign(key, signature_hash(kind_of(key)))
    return bundle.Bundle(
        purpose=bundle.Purpose.INTERMEDIATE_REQUEST,
        identifier=rng(16).hex(),
        members={bundle.REQUEST: csr.public_bytes(Encoding.DER)},
    ).encode()


class _Made:
    """Remembers what came to be, so that a failure can take it away."""

    def __init__(self) -> None:
        self.directories: list[Path] = []
        self.files: list[Path] = []

    def directory(self, path: Path, *, private: bool) -> None:
        self.directories += [each for each in (path, *path.parents) if not each.exists()]
        durable.make_directory(path, private=private)

    def undo(self) -> None:
        for file in self.files:
            with contextlib.suppress(OSError):
                file.unlink()
        for directory in sorted(set(self.directories), key=lambda each: len(each.parts), reverse=True):
            with contextlib.suppress(OSError):
                directory.rmdir()


@contextlib.contextmanager
def _undone_on_failure(wishes: Wishes) -> Iterator[_Made]:
    made = _Made()
    try:
        yield made
    except BaseException as error:
        made.undo()
        if isinstance(error, ColdrootError) and wishes.key_uri is not None and not wishes.key_exists:
            error.hint = "the key was made in the HSM and stays there: try again with --key-exists, or remove it first"
        raise
