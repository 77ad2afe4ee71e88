"""Entries of provisioners, made and changed as an operator asks. Pure; what comes out is read by the node's own reader.

Invariant: a wish that does not suit the kind of provisioner is refused, never dropped; members that nobody spoke of
stay as they are in an entry that is changed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from cryptography import x509

from online.jose import jwe
from online.jose.jwk import Jwk, PrivateJwk
from online.provisioners.protocol import ProvisionerType
from online.strict_json import Json, JsonObject
from shared.durations import format_duration, parse_duration
from shared.errors import RequestRejected
from shared.pem import certificate_pem

Rng = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimWishes:
    """Changes to the claims of a provisioner: ``None`` leaves one as it is, an empty text takes it out."""

    least: str | None = None
    most: str | None = None
    default: str | None = None
    disable_renewal: bool | None = None
    allow_renewal_after_expiry: bool | None = None

    def apply(self, entry: JsonObject) -> JsonObject:
        """Return the entry with the claims changed.

        Raises:
            RequestRejected: ``duration.*``.
        """
        present = entry.get("claims")
        claims: JsonObject = dict(present) if isinstance(present, dict) else {}
        texts = {
            "minTLSCertDuration": self.least, "maxTLSCertDuration": self.most, "defaultTLSCertDuration": self.default
        }  # fmt: skip
        for key, text in texts.items():
            if text == "":
                claims.pop(key, None)
            elif text is not None:
                claims[key] = format_duration(parse_duration(text))
        flags = {
            "disableRenewal": self.disable_renewal, "allowRenewalAfterExpiry": self.allow_renewal_after_expiry
        }  # fmt: skip
        claims.update({key: flag for key, flag in flags.items() if flag is not None})
        return _with(entry, "claims", claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListWishes:
    """Members to add to a list, and to take out of it."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)

    def apply(self, present: Json, *, what: str) -> list[Json]:
        """Return the changed list.

        Raises:
            RequestRejected: ``provisioner.option`` when what shall go is not there.
        """
        known = [each for each in present if isinstance(each, str)] if isinstance(present, list) else []
        for each in self.remove:
            if each not in known:
                raise RequestRejected("provisioner.option", f"{each} is not among the {what}")
        kept = [each for each in known if each not in self.remove]
        return [*dict.fromkeys([*kept, *self.add])]


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcWishes:
    """What an OIDC provisioner shall say; ``None`` leaves a text as it is, an empty one takes it out."""

    client_id: str | None = None
    endpoint: str | None = None
    tenant: str | None = None
    listen: str | None = None
    admins: ListWishes = field(default_factory=ListWishes)
    domains: ListWishes = field(default_factory=ListWishes)
    groups: ListWishes = field(default_factory=ListWishes)
    scopes: ListWishes = field(default_factory=ListWishes)
    parameters: ListWishes = field(default_factory=ListWishes)

    def is_empty(self) -> bool:
        """Tell whether nothing is asked for."""
        return all(getattr(self, each.name) in {None, ListWishes()} for each in fields(self))

    def apply(self, entry: JsonObject) -> JsonObject:
        """Return the entry with the wishes in it.

        Raises:
            RequestRejected: ``provisioner.option``.
        """
        texts: Mapping[str, str | None] = {
            "clientID": self.client_id,
            "configurationEndpoint": self.endpoint,
            "tenantID": self.tenant,
            "listenAddress": self.listen,
        }
        for key, text in texts.items():
            if text is not None:
                entry = _with(entry, key, text)
        lists = {
            "admins": self.admins,
            "domains": self.domains,
            "groups": self.groups,
            "scopes": self.scopes,
            "authParams": self.parameters,
        }
        for key, wishes in lists.items():
            if wishes:
                entry = _with(entry, key, wishes.apply(entry.get(key), what=key))
        return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What an operator asks of a provisioner, new or present."""

    key: Jwk | None = None
    """For JWK: the public key."""
    encrypted_key: str | None = field(default=None, repr=False)
    """Its private key as a JWE; ``None`` when it is kept elsewhere."""
    roots: Sequence[x509.Certificate] = ()
    """For X5C."""
    oidc: OidcWishes = field(default_factory=OidcWishes)
    claims: ClaimWishes = field(default_factory=ClaimWishes)

    def new_entry(self, kind: ProvisionerType, name: str) -> JsonObject:
        """Return the entry of a new provisioner.

        Raises:
            RequestRejected: ``provisioner.option``.
        """
        if kind is ProvisionerType.JWK and self.key is None:
            raise RequestRejected("provisioner.option", "a JWK provisioner needs a key")
        if kind is ProvisionerType.X5C and not self.roots:
            raise RequestRejected("provisioner.option", "an X5C provisioner needs --x5c-roots")
        if kind is ProvisionerType.OIDC and not (self.oidc.client_id and self.oidc.endpoint):
            raise RequestRejected(
                "provisioner.option", "an OIDC provisioner needs --client-id and --configuration-endpoint"
            )
        return self.apply({"type": kind.wire_name, "name": name})

    def apply(self, entry: JsonObject) -> JsonObject:
        """Return a present entry with the wishes in it.

        Raises:
            RequestRejected: ``provisioner.option`` for a wish that does not suit its kind.
        """
        kind = str(entry.get("type")).upper()
        if self.key is not None:
            _insist(kind, ProvisionerType.JWK, "a key")
            entry = _with({**entry, "key": self.key.to_json()}, "encryptedKey", self.encrypted_key)
        if self.roots:
            _insist(kind, ProvisionerType.X5C, "--x5c-roots")
            entry = {**entry, "roots": base64.b64encode(certificate_pem(*self.roots)).decode("ascii")}
        if not self.oidc.is_empty():
            _insist(kind, ProvisionerType.OIDC, "options of an identity provider")
            entry = self.oidc.apply(entry)
        return self.claims.apply(entry)


def encrypted_key(signer: PrivateJwk, password: bytes, *, rng: Rng) -> str:
    """Return the JWE under which a provisioner's private key is published.

    Raises:
        RequestRejected: ``jwe.password``, or ``jwk.private`` for a key that an HSM does not give away.
    """
    return jwe.encrypt(signer.to_json_bytes(), password, rng=rng)


def _insist(kind: str, wanted: ProvisionerType, what: str) -> None:
    if kind != wanted.wire_name:
        raise RequestRejected("provisioner.option", f"{what} is for {wanted.wire_name} provisioners, not for {kind}")


def _with(entry: JsonObject, key: str, value: Json) -> JsonObject:
    """Return an entry with a member set, or without it when the value says nothing."""
    if not value:
        return {name: each for name, each in entry.items() if name != key}
    return {**entry, key: value}
