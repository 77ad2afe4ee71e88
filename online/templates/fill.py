"""Filling a template: verified names go in, the parts of a leaf come out. Pure; no text is put into text."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from online.templates.shape import LeafTemplate, SanKind, SansShape
from online.templates.subject import SubjectDefaults, build_subject, wanted_common_name
from shared.keys import KeyKind
from shared.names import SanSet, canonical_dns, canonical_email, canonical_ip, canonical_uri, parse_sans
from shared.profile import KeyPurpose


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledLeaf:
    """The parts of a leaf that its template decides."""

    common_name: str
    """The one that was wanted, for the policy to judge; whether it stands in the subject is another question."""
    subject: x509.Name
    sans: SanSet
    purposes: frozenset[KeyPurpose]
    extended_key_usage: tuple[x509.ObjectIdentifier, ...]
    extensions: tuple[x509.Extension[x509.ExtensionType], ...]


def fill(template: LeafTemplate, *, subject: str, sans: SanSet, kind: KeyKind, defaults: SubjectDefaults) -> FilledLeaf:
    """Fill a template.

    Args:
        template: the provisioner's.
        subject: the verified token's.
        sans: the verified token's names, canonical.
        kind: of the subject key.
        defaults: ``authority.template``.

    Raises:
        RequestRejected: ``name.*`` for a subject that cannot be the kind of name that the template makes of it.
    """
    shape = template.shape(kind)
    common_name = wanted_common_name(shape.subject, defaults, subject=subject)
    names = _sans(shape.sans, subject, sans)
    return FilledLeaf(
        common_name=common_name,
        subject=build_subject(shape.subject, defaults, common_name=common_name, sans=names),
        sans=names,
        purposes=shape.purposes,
        extended_key_usage=shape.extended_key_usage,
        extensions=shape.extensions,
    )


def _sans(shape: SansShape, subject: str, sans: SanSet) -> SanSet:
    if shape.from_token and not shape.subject_as and not shape.fixed:
        return sans
    parts = [sans] if shape.from_token else []
    parts.extend(typed_san(kind, subject) for kind in sorted(shape.subject_as))
    return join_sans(*parts, shape.fixed)


def typed_san(kind: SanKind, text: str) -> SanSet:
    """Read a text as a name of one kind.

    Raises:
        RequestRejected: ``name.*``.
    """
    if kind is SanKind.DNS:
        return SanSet(dns=(canonical_dns(text),))
    if kind is SanKind.EMAIL:
        return SanSet(emails=(canonical_email(text),))
    if kind is SanKind.IP:
        return SanSet(ips=(canonical_ip(text),))
    if kind is SanKind.URI:
        return SanSet(uris=(canonical_uri(text),))
    return parse_sans((text,))


def join_sans(*parts: SanSet) -> SanSet:
    """Put sets of names together, each name once, in the order given."""
    return SanSet(
        dns=tuple(dict.fromkeys(name for part in parts for name in part.dns)),
        emails=tuple(dict.fromkeys(name for part in parts for name in part.emails)),
        ips=tuple(dict.fromkeys(name for part in parts for name in part.ips)),
        uris=tuple(dict.fromkeys(name for part in parts for name in part.uris)),
    )
