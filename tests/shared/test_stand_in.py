"""Stand-ins for issuing keys: the same bytes to sign as under the real key, and no signature at all."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from fakes.ca_keys import generate_for_ca

from shared.errors import Fatal
from shared.keys import CA_KINDS, CaKind, kind_of, signature_hash
from shared.names import subject
from shared.signing import sign_whole
from shared.stand_in import stand_in

KINDS = sorted(CA_KINDS)


def _builder(public_key: Any) -> x509.CertificateBuilder:
    name = subject(common="Root")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(1 << 100)
        .not_valid_before(datetime(2026, 11, 24, tzinfo=UTC))
        .not_valid_after(datetime(2036, 11, 24, tzinfo=UTC))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_draft_is_what_the_real_key_signs(kind: CaKind) -> None:
    """Were one octet different, such as the algorithm, the lint would judge another certificate than the one issued."""
    key = generate_for_ca(kind)
    builder, algorithm = _builder(key.public_key()), signature_hash(kind)
    draft = builder.sign(stand_in(key.public_key()), algorithm)
    signed = builder.sign(key, algorithm)
    assert draft.tbs_certificate_bytes == signed.tbs_certificate_bytes
    assert x509.load_der_x509_certificate(sign_whole(key, draft.tbs_certificate_bytes)).signature_algorithm_oid == (
        signed.signature_algorithm_oid
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_draft_is_no_certificate(kind: CaKind) -> None:
    """Somebody who gets hold of a draft must not be able to use it."""
    key = generate_for_ca(kind)
    draft = _builder(key.public_key()).sign(stand_in(key.public_key()), signature_hash(kind))
    assert draft.signature == b""
    with pytest.raises((InvalidSignature, ValueError)):
        draft.verify_directly_issued_by(draft)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use", [lambda key: key.public_key(), lambda key: key.private_bytes(None, None, None)])
def test_a_stand_in_is_good_for_nothing_else(kind: CaKind, use: Callable[[Any], object]) -> None:
    """A stand-in that got to where a key belongs would publish certificates that nobody can verify."""
    stand = stand_in(generate_for_ca(kind).public_key())
    assert kind_of(stand) is kind
    assert copy.deepcopy(copy.copy(stand)) is stand
    assert not isinstance(stand, rsa.RSAPrivateKey) or stand.key_size == 0
    with pytest.raises(Fatal) as caught:
        use(stand)
    assert caught.value.code == "issue.stand-in"
