"""A provisioner's signing key on the operator's side: found, unlocked with its password, and used for tokens.

Invariants: the encrypted key comes from the CA or from its ca.json, never from anywhere else; the key that comes
out is the one whose identifier the CA published, or it is refused; nothing is cached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509

from online.client import Client
from online.config import Config
from online.jose import jwe
from online.jose.jwk import PrivateJwk, parse_private_jwk
from online.key_file import parse_key_file
from online.provisioners.protocol import Operation, ProvisionerType
from online.provisioners.x5c import PREFIX
from online.tokens import Rng, audience, mint_revoke_token, mint_sign_token, offline_audience
from online.trust import Trust
from shared import durable
from shared.errors import NotFound, RequestRejected
from shared.keys import PrivateKey, fingerprint
from shared.names import printable
from shared.pem import load_certificates
from shared.terminal import SecretCallback

Secrets = Callable[[str], SecretCallback]
"""Given the name of the provisioner that was chosen, returns the source of its password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who mints a token."""

    name: str
    """The provisioner's name: the token's issuer."""
    key: PrivateJwk = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()
    """For an X5C provisioner: the certificate of the key, and its issuers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minter:
    """A signer, and the CA and operation that its tokens are for."""

    signer: Signer
    root_fingerprint: str
    audience: str

    def sign_token(
        self,
        subject: str,
        sans: Sequence[str],
        *,
        now: datetime,
        rng: Rng,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        cnf: str | None = None,
        cert_not_before: str = "",
        cert_not_after: str = "",
    ) -> str:
        """Mint a token for one certificate; the arguments are those of ``online.tokens.mint_sign_token``."""
        return mint_sign_token(
            self.signer.key,
            issuer=self.signer.name,
            audience=self.audience,
            subject=subject,
            sans=sans,
            root_fingerprint=self.root_fingerprint,
            now=now,
            rng=rng,
            not_before=not_before,
            not_after=not_after,
            cnf=cnf,
            chain=self.signer.chain,
            cert_not_before=cert_not_before,
            cert_not_after=cert_not_after,
        )

    def revoke_token(
        self,
        serial: int,
        *,
        now: datetime,
        rng: Rng,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> str:
        """Mint a token that revokes one certificate; as ``online.tokens.mint_revoke_token``."""
        return mint_revoke_token(
            self.signer.key,
            issuer=self.signer.name,
            audience=self.audience,
            serial=serial,
            root_fingerprint=self.root_fingerprint,
            now=now,
            rng=rng,
            not_before=not_before,
            not_after=not_after,
            chain=self.signer.chain,
        )


def online_minter(
    trust: Trust, operation: Operation, secrets: Secrets, *, name: str | None = None, kid: str | None = None
) -> Minter:
    """Return a minter with the provisioner's key that the CA hands out.

    Args:
        trust: the CA.
        operation: what the tokens are for.
        secrets: where the password of the provisioner comes from.
        name: the provisioner; may be left out when there is only one with a key.
        kid: its key, when several have one name.

    Raises:
        NotFound: ``provisioner.unknown``.
        RequestRejected: ``provisioner.*`` or ``jwe.*``.
        Unauthenticated: ``jwe.wrong-password``.
        PeerFailed: ``ca.*``.
    """
    signer = unlock_from_ca(trust.client(), secrets, name=name, kid=kid)
    return Minter(
        signer=signer, root_fingerprint=fingerprint(trust.roots[0]), audience=audience(str(trust.url), operation)
    )


def offline_minter(
    config: Config, operation: Operation, secrets: Secrets, *, name: str | None = None, kid: str | None = None
) -> Minter:
    """Return a minter with the provisioner's key out of the CA's own configuration.

    Args:
        config: the ca.json.
        operation: as for ``online_minter``.
        secrets: as for ``online_minter``.
        name: as for ``online_minter``.
        kid: as for ``online_minter``.

    Raises:
        RequestRejected: ``token.no-root`` before ``online import``; ``provisioner.*``, ``jwe.*``.
        NotFound: ``provisioner.unknown`` or ``provisioner.no-key``.
        Unauthenticated: ``jwe.wrong-password``.
    """
    return Minter(
        signer=unlock_from_config(config, secrets, name=name, kid=kid),
        root_fingerprint=_root_of(config),
        audience=offline_audience(config.dns_names[0], operation),
    )


def load_own_key(path: Path, secret: SecretCallback) -> PrivateJwk:
    """Read a provisioner's key from a private file of its own: a JWK, encrypted or not, or PEM.

    Args:
        path: the file.
        secret: asked for the password, when the key is encrypted.

    Raises:
        RequestRejected: ``file.*``, ``key.*``, ``jwk.*`` or ``jwe.*``.
        Unauthenticated: ``key.wrong-password`` or ``jwe.wrong-password``.
    """
    file = parse_key_file(durable.read_private(path), secret, what=f"file {path}")
    return PrivateJwk.of(file.key) if file.jwk is None else parse_private_jwk(file.jwk, what=f"file {path}")


def own_key_minter(trust: Trust, operation: Operation, key: PrivateJwk, *, name: str | None = None) -> Minter:
    """Return a minter with a provisioner's key that lies here, and ask the CA at most for the provisioner's name.

    Args:
        trust: the CA.
        operation: what the tokens are for.
        key: the private key of a JWK provisioner.
        name: of the provisioner; with it the CA is not asked for anything.

    Raises:
        NotFound: ``provisioner.unknown``.
        PeerFailed: ``ca.*``.
    """
    if name is None:
        known = [(each.name, each.kid) for each in trust.client().provisioners() if each.kind == "JWK"]
        name = _owner(key, known)
    return Minter(
        signer=Signer(name=name, key=key),
        root_fingerprint=fingerprint(trust.roots[0]),
        audience=audience(str(trust.url), operation),
    )


def offline_own_key_minter(config: Config, operation: Operation, key: PrivateJwk, *, name: str | None = None) -> Minter:
    """Return a minter with a provisioner's key that lies here, for a CA whose ca.json is here, too.

    Args:
        config: the ca.json.
        operation: as for ``own_key_minter``.
        key: as for ``own_key_minter``.
        name: as for ``own_key_minter``.

    Raises:
        RequestRejected: ``token.no-root`` before ``online import``.
        NotFound: ``provisioner.unknown``.
    """
    known = [(each.name, each.kid) for each in config.provisioners if each.type is ProvisionerType.JWK]
    return Minter(
        signer=Signer(name=name or _owner(key, known), key=key),
        root_fingerprint=_root_of(config),
        audience=offline_audience(config.dns_names[0], operation),
    )


def _owner(key: PrivateJwk, known: Iterable[tuple[str, str]]) -> str:
    for name, kid in known:
        if kid == key.kid:
            return name
    raise NotFound(
        "provisioner.unknown",
        f"no JWK provisioner of the CA has the key {printable(key.kid)}",
        hint="give the key's own identifier with --kid, if it is not the thumbprint",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A certificate whose key signs tokens for an X5C provisioner."""

    chain: tuple[x509.Certificate, ...]
    """The certificate, then its issuers."""
    key: PrivateKey = field(repr=False)

    def signer(self, name: str) -> Signer:
        """Return the signer of a provisioner."""
        return Signer(name=name, key=PrivateJwk.of(self.key), chain=self.chain)


def online_x5c_minter(trust: Trust, operation: Operation, credential: Credential, *, name: str | None = None) -> Minter:
    """Return a minter that signs with a certificate's key.

    Args:
        trust: the CA.
        operation: what the tokens are for.
        credential: the certificate and its key.
        name: the X5C provisioner; may be left out when the CA has only one.

    Raises:
        NotFound: ``provisioner.unknown``.
        RequestRejected: ``provisioner.ambiguous``.
        PeerFailed: ``ca.*``.
    """
    known = (
        [each.name for each in trust.client().provisioners() if each.kind == ProvisionerType.X5C.wire_name]
        if name is None
        else [name]
    )
    chosen = _only(known)
    return Minter(
        signer=credential.signer(chosen),
        root_fingerprint=fingerprint(trust.roots[0]),
        audience=f"{audience(str(trust.url), operation)}#{PREFIX}{chosen}",
    )


def offline_x5c_minter(
    config: Config, operation: Operation, credential: Credential, *, name: str | None = None
) -> Minter:
    """Return a minter that signs with a certificate's key, for a CA whose ca.json is here.

    Args:
        config: the ca.json.
        operation: as for ``online_x5c_minter``.
        credential: as for ``online_x5c_minter``.
        name: as for ``online_x5c_minter``.

    Raises:
        RequestRejected: ``token.no-root`` before ``online import``, ``provisioner.ambiguous``.
        NotFound: ``provisioner.unknown``.
    """
    known = [
        each.name for each in config.provisioners if each.type is ProvisionerType.X5C and name in {None, each.name}
    ]
    chosen = _only(known)
    return Minter(
        signer=credential.signer(chosen),
        root_fingerprint=_root_of(config),
        audience=f"{offline_audience(config.dns_names[0], operation)}#{PREFIX}{chosen}",
    )


def _root_of(config: Config) -> str:
    root = config.roots[0]
    if not root.exists():
        raise RequestRejected(
            "token.no-root", f"{root} does not exist yet", hint="run online import with the ceremony's reply"
        )
    return fingerprint(load_certificates(durable.read_file(root), what=f"root file {root}")[0])


def _only(names: Sequence[str]) -> str:
    if not names:
        raise NotFound("provisioner.unknown", "the CA has no such X5C provisioner")
    if len(names) > 1:
        raise RequestRejected(
            "provisioner.ambiguous",
            "several X5C provisioners could take the certificate",
            hint=f"choose one with --provisioner: {', '.join(map(printable, names))}",
        )
    return names[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    name: str
    kid: str
    encrypted_key: str


def unlock_from_ca(client: Client, secrets: Secrets, *, name: str | None = None, kid: str | None = None) -> Signer:
    """Fetch a provisioner's encrypted key from its CA, and unlock it.

    Args:
        client: of the CA.
        secrets: where the password of the provisioner comes from.
        name: the provisioner; may be left out when there is only one with a key.
        kid: its key, when several have one name.

    Raises:
        NotFound: ``provisioner.unknown``.
        RequestRejected: ``provisioner.ambiguous``, ``provisioner.wrong-key`` or ``jwe.*``.
        Unauthenticated: ``jwe.wrong-password``.
    """
    found = [
        _Candidate(name=each.name, kid=each.kid, encrypted_key=each.encrypted_key)
        for each in client.provisioners()
        if each.kind == "JWK"
    ]
    chosen = _choose(found, name, kid)
    return _unlock(chosen, chosen.encrypted_key or client.encrypted_key(chosen.kid), secrets)


def unlock_from_config(config: Config, secrets: Secrets, *, name: str | None = None, kid: str | None = None) -> Signer:
    """Take a provisioner's encrypted key from the CA's own configuration, without contact to the CA.

    Args:
        config: the ca.json.
        secrets: where the password of the provisioner comes from.
        name: as for ``unlock_from_ca``.
        kid: as for ``unlock_from_ca``.

    Raises:
        NotFound: ``provisioner.unknown``, also when the file holds no encrypted key for it.
        RequestRejected: as ``unlock_from_ca``.
        Unauthenticated: ``jwe.wrong-password``.
    """
    found = [
        _Candidate(name=each.name, kid=each.kid, encrypted_key=each.encrypted_key or "")
        for each in config.provisioners
        if each.type is ProvisionerType.JWK
    ]
    chosen = _choose(found, name, kid)
    if not chosen.encrypted_key:
        raise NotFound("provisioner.no-key", f"the configuration holds no key of the provisioner {chosen.name}")
    return _unlock(chosen, chosen.encrypted_key, secrets)


def _choose(candidates: Iterable[_Candidate], name: str | None, kid: str | None) -> _Candidate:
    known = list(candidates)
    found = [each for each in known if name in {None, each.name} and kid in {None, each.kid}]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(printable(each.name) for each in known) or "none"
    if not found:
        raise NotFound(
            "provisioner.unknown", "the CA has no such JWK provisioner", hint=f"provisioners with a key: {listed}"
        )
    raise RequestRejected(
        "provisioner.ambiguous",
        "several provisioners could sign the token",
        hint=f"choose one with --provisioner (or --kid): {listed}",
    )


def _unlock(chosen: _Candidate, encrypted_key: str, secrets: Secrets) -> Signer:
    shown = printable(chosen.name)
    jwe.check_shape(encrypted_key)
    payload = jwe.decrypt(encrypted_key, secrets(chosen.name)(f"Password of the provisioner {shown}"))
    key = parse_private_jwk(payload, what=f"key of the provisioner {shown}")
    if key.kid != chosen.kid:
        raise RequestRejected("provisioner.wrong-key", f"the encrypted key of {shown} is not the one that it publishes")
    return Signer(name=chosen.name, key=key)
