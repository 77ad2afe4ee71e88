"""Request bodies: what clients of step-ca send is read, what two readers could read differently is not."""

from __future__ import annotations

import json
import string
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.hierarchy import make_csr
from hypothesis import given, settings
from hypothesis import strategies as st

from online.api.wire import read_rekey, read_revoke, read_sign
from shared.errors import RequestRejected, Unsupported
from shared.keys import KeyKind, generate

CSR = make_csr("a.example.com", key=generate(KeyKind.EC_P256)).public_bytes(Encoding.PEM).decode()
SIGN = {"csr": CSR, "ott": "a.b.c"}
REVOKE = {"serial": "17", "ott": "a.b.c", "passive": True}


def body(value: object) -> bytes:
    """Write JSON."""
    return json.dumps(value).encode()


def test_a_sign_request_as_the_step_cli_sends_it() -> None:
    """Without this, the empty texts that step always sends for unset times could be refused."""
    wanted = read_sign(body({**SIGN, "notAfter": "", "notBefore": "1h", "templateData": {"a": [1.5, None]}, "zzz": 1}))
    assert (wanted.token, wanted.not_before, wanted.not_after) == ("a.b.c", "1h", "")
    assert wanted.csr.public_bytes(Encoding.PEM).decode() == CSR


def test_keys_match_in_any_case_and_null_is_absent() -> None:
    """Without this, clients written against Go's decoder could fail."""
    wanted = read_sign(body({"CSR": CSR, "Ott": "a.b.c", "NOTAFTER": None, "templatedata": None}))
    assert wanted.not_after == ""
    assert read_revoke(body({"SERIAL": "0x11", "passive": True, "ott": None})).token is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "error decoding json"),
        (b"garbage", "error decoding json"),
        (b"null", "error decoding json"),
        (b"[]", "error decoding json"),
        (b"{}", "missing csr"),
        (body({"csr": CSR}), "missing ott"),
        (body({**SIGN, "ott": ""}), "missing ott"),
        (body({**SIGN, "ott": 7}), "error decoding json"),
        (body({**SIGN, "csr": "xx"}), "error decoding json"),
        (body({**SIGN, "csr": None}), "missing csr"),
        (body({**SIGN, "csr": {}}), "error decoding json"),
        (body({**SIGN, "csr": [CSR]}), "error decoding json"),
        (body({**SIGN, "csr": 5}), "error decoding json"),
        (body({**SIGN, "csr": CSR + CSR}), "error decoding json"),
        (body({**SIGN, "csr": CSR.replace("REQUEST", "REVOLT")}), "error decoding json"),
        (body({**SIGN, "csr": "é" + CSR}), "error decoding json"),
        (body({**SIGN, "notAfter": 5}), "error decoding json"),
        (body({**SIGN, "notAfter": {}}), "error decoding json"),
        (body({**SIGN, "templateData": []}), "error decoding json"),
        (body(SIGN) + b"x", "error decoding json"),
        (body(SIGN) + body(SIGN), "error decoding json"),
        (body(SIGN)[:-1] + b',"ott":"a.b.d"}', "error decoding json"),
        (body(SIGN)[:-1] + b',"OTT":"a.b.d"}', "error decoding json"),
        (body(SIGN)[:-1] + b',"zzz":NaN}', "error decoding json"),
        (body(SIGN)[:-1] + b',"zzz":-Infinity}', "error decoding json"),
        (body(SIGN)[:-1] + b',"zzz":1e999}', "error decoding json"),
        (body(SIGN)[:-1] + b',"zzz":' + b"9" * 5000 + b"}", "error decoding json"),
        (body(SIGN)[:-1] + b',"zzz":"\\ud800"}', "error decoding json"),
        (body(SIGN)[:-1] + b',"zzz":"\xff"}', "error decoding json"),
        (body(SIGN)[:-1] + b',"zzz":' + b"[" * 64 + b"]" * 64 + b"}", "error decoding json"),
        (b"\xef\xbb\xbf" + body(SIGN), "error decoding json"),
        (json.dumps(SIGN).encode("utf-16"), "error decoding json"),
    ],
)
def test_a_sign_request_that_is_refused(content: bytes, message: str) -> None:
    """Without this, a malformed or ambiguous body could end in an exception, or be read in one of two ways."""
    with pytest.raises(RequestRejected) as refusal:
        read_sign(content)
    assert refusal.value.message == message
    assert type(refusal.value) is RequestRejected


def test_a_rekey_request() -> None:
    """Without this, a missing request could be reported as something else."""
    assert read_rekey(body({"csr": CSR})).is_signature_valid
    with pytest.raises(RequestRejected, match="missing csr"):
        read_rekey(b"{}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"serial": ""}, "missing serial"),
        ({"serial": 17}, "error decoding json"),
        ({"serial": "zz"}, "'zz' is not a valid serial number - use a base 10 representation"),
        ({"serial": "-1"}, "is not a valid serial number"),
        ({"serial": "0"}, "is not a valid serial number"),
        ({"serial": str(1 << 200)}, "is not a valid serial number"),
        ({"serial": "1; drop table certificate"}, "is not a valid serial number"),
        ({"reasonCode": 99}, "reasonCode out of bounds"),
        ({"reasonCode": -1}, "reasonCode out of bounds"),
        ({"reasonCode": 7}, "reasonCode out of bounds"),
        ({"reasonCode": True}, "error decoding json"),
        ({"reasonCode": 1.0}, "error decoding json"),
        ({"reasonCode": "1"}, "error decoding json"),
        ({"reason": "a" * 2000}, "reason is longer"),
        ({"passive": "true"}, "error decoding json"),
    ],
)
def test_a_revocation_that_is_refused(change: dict[str, object], message: str) -> None:
    """Without this, another certificate than the one meant could be revoked, or for another reason."""
    with pytest.raises(RequestRejected) as refusal:
        read_revoke(body({**REVOKE, **change}))
    assert message in refusal.value.message


def test_active_revocation_is_not_served() -> None:
    """Without this, a client could believe that a CRL was made."""
    with pytest.raises(Unsupported):
        read_revoke(body({"serial": "1"}))


def test_a_revocation_as_the_step_cli_sends_it() -> None:
    """Without this, an empty token could be taken for a token."""
    wanted = read_revoke(body({"serial": "0x1F", "ott": "", "reasonCode": 4, "reason": "gone", "passive": True}))
    assert (wanted.serial, wanted.token, wanted.reason_code, wanted.reason) == (31, None, 4, "gone")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(CSR),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(string.ascii_letters, max_size=8), inner),
    max_leaves=10,
)
_NAMES = st.sampled_from(["csr", "CSR", "ott", "serial", "passive", "reasonCode", "reason", "notAfter", "templateData"])


@settings(max_examples=200, deadline=None)
@given(content=st.dictionaries(_NAMES, _JSON).map(body) | st.binary(max_size=200) | _JSON.map(body))
def test_no_body_ends_in_another_exception(content: bytes) -> None:
    """Without this, a stranger's body could end in a 500."""
    for read in (read_sign, read_rekey, read_revoke):
        with suppress(RequestRejected):
            read(content)
