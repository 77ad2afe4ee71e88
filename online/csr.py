"""A certificate request held against the token that it came with.

The token says *who*: common name and alternative names. The request gives the public key, proves its possession,
and may repeat the names, but never add to them or leave some of a kind out. The comparison is of canonical names:
neither case nor order nor repetition can make two readers disagree.

The checks, in order (the numbers return in the code):

1. the request stays within limits, and holds nothing twice;
2. its key is of an accepted kind and strength, and signed it;
3. a token that is bound to one request (``cnf``) came with that request;
4. its common name is empty, or the token's subject, or one of the token's names;
5. for each kind of alternative name that it holds, it holds exactly the token's.
"""

from __future__ import annotations

import hmac
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from online.tokens import VerifiedToken, csr_confirmation
from shared.errors import PolicyDenied, RequestRejected
from shared.keys import PublicKey, csr_key
from shared.names import SanSet, common_name_of, parse_sans, printable, sans_of

_MOST_SUBJECT_ATTRIBUTES = 32
_LARGEST_CSR_BYTES = 32 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenNames:
    """What a verified token allows to be certified."""

    subject: str
    sans: SanSet
    aliases: tuple[str, ...] = ()
    """What a request may also give as its common name. It never enters a certificate."""

    @classmethod
    def of(cls, subject: str, sans: Iterable[str], aliases: Iterable[str] = ()) -> TokenNames:
        """Make the names canonical.

        Args:
            subject: the token's ``sub``.
            sans: the token's ``sans``; none stands for the subject alone.
            aliases: the token's ``aliases``; compared as they are.

        Raises:
            RequestRejected: ``name.*`` when one of them could not stand in a certificate.
        """
        given = tuple(sans)
        return cls(subject=subject, sans=parse_sans(given or (subject,)), aliases=tuple(aliases))

    @classmethod
    def of_request(cls, csr: x509.CertificateSigningRequest) -> TokenNames:
        """Take the names that a request asks for, for somebody who may ask for any.

        Raises:
            RequestRejected: ``csr.*`` or ``name.*``, also when the request names nobody.
        """
        subject, extensions = _parts(csr)
        sans = sans_of(extensions).texts()
        common = common_name_of(subject) or (sans[0] if sans else "")
        if not common:
            raise RequestRejected("csr.no-name", "the request names nobody")
        return cls.of(common, sans)


def names_for(token: VerifiedToken, csr: x509.CertificateSigningRequest) -> TokenNames:
    """Return the names to certify: the token's, or, on an administrator's token, those that the request asks for.

    Raises:
        RequestRejected: ``csr.*`` or ``name.*``.
    """
    if token.unbound:
        return TokenNames.of_request(csr)
    return TokenNames.of(token.subject, token.sans, token.aliases)


def accept_csr(csr: x509.CertificateSigningRequest, names: TokenNames, *, confirmation: str | None) -> PublicKey:
    """Check a request against a verified token.

    Args:
        csr: as parsed; its signature need not have been checked.
        names: from the token.
        confirmation: the token's ``cnf`` member ``x5rt#S256``, base64url of the request's SHA-256, if it has one.

    Returns:
        The public key to certify: the only thing that is taken out of the request.

    Raises:
        RequestRejected: ``csr.*``, ``key.*`` or ``name.*``.
        PolicyDenied: ``csr.not-the-tokens``, ``csr.common-name``, ``csr.dns-names``, ``csr.email-addresses``,
            ``csr.ip-addresses`` or ``csr.uris``, in step-ca's words.
    """
    # 1.
    subject, extensions = _parts(csr)
    # 2.
    key = csr_key(csr)
    # 3.
    if confirmation is not None:
        _check_confirmation(csr, confirmation)
    # 4.
    _check_common_name(common_name_of(subject), names)
    # 5.
    _check_sans(sans_of(extensions), names.sans)
    return key


def _parts(csr: x509.CertificateSigningRequest) -> tuple[x509.Name, x509.Extensions]:
    if len(csr.public_bytes(Encoding.DER)) > _LARGEST_CSR_BYTES:
        raise RequestRejected("csr.too-large", f"the request is larger than {_LARGEST_CSR_BYTES} bytes")
    try:
        with warnings.catch_warnings():
            # The library warns on stderr of names that are too long; here they are refused, by the comparison.
            warnings.simplefilter("ignore")
            subject = csr.subject
        kinds = [attribute.oid for attribute in csr.attributes]
        extensions = csr.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise RequestRejected("csr.malformed", "the subject, attributes or extensions are malformed") from None
    if len(list(subject)) > _MOST_SUBJECT_ATTRIBUTES:
        raise RequestRejected("csr.subject", f"the subject has more than {_MOST_SUBJECT_ATTRIBUTES} attributes")
    # A second attribute of one kind is read by some parsers and not by others.
    if len(set(kinds)) != len(kinds):
        raise RequestRejected("csr.malformed", "the request holds an attribute twice")
    return subject, extensions


def _check_confirmation(csr: x509.CertificateSigningRequest, confirmation: str) -> None:
    if not hmac.compare_digest(csr_confirmation(csr).encode(), confirmation.encode()):
        raise PolicyDenied("csr.not-the-tokens", "certificate request fingerprint does not match the token's")


def _check_common_name(found: str, names: TokenNames) -> None:
    if found == names.subject:
        return
    allowed = {_canonical(names.subject), *names.sans.texts()}
    if found and _canonical(found) not in allowed and found not in names.aliases:
        wanted = " ".join(printable(each) for each in (names.subject, *names.sans.texts()))
        raise PolicyDenied(
            "csr.common-name",
            "certificate request does not contain the valid common name"
            f" - got {printable(found)}, want [{printable(wanted, limit=500)}]",
        )


def _check_sans(found: SanSet, wanted: SanSet) -> None:
    kinds: tuple[tuple[str, str, tuple[object, ...], tuple[object, ...]], ...] = (
        ("csr.dns-names", "DNS names", found.dns, wanted.dns),
        ("csr.email-addresses", "email addresses", found.emails, wanted.emails),
        ("csr.ip-addresses", "IP addresses", found.ips, wanted.ips),
        ("csr.uris", "URIs", found.uris, wanted.uris),
    )
    for code, what, got, want in kinds:
        if got and set(got) != set(want):
            raise PolicyDenied(
                code,
                f"certificate request does not contain the valid {what} - got {_listed(got)}, want {_listed(want)}",
            )


def _canonical(text: str) -> str:
    """Bring a common name into the form that the alternative names have, where it is a name of that kind at all."""
    try:
        return parse_sans((text,)).texts()[0]
    except RequestRejected:
        return text


def _listed(values: tuple[object, ...]) -> str:
    return f"[{printable(' '.join(map(str, values)), limit=300)}]"
