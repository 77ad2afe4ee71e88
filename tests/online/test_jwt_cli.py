"""``online jwt``: each rule of the RFCs is broken once, and the refusal must name it; shown on stdin and in files."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fakes.tokens import NOW, SIGN_AUDIENCE, SIGNER, b64, claims, forge, header, raw
from hypothesis import given, settings
from hypothesis import strategies as st

from online.cli import cli
from online.jose import jwe, jwe_file
from online.jose.jwk import PrivateJwk
from online.jose.trusted_keys import TrustedKey, parse_trusted_key, parse_trusted_set
from online.jwt_check import Expected, read_jwt, verify_jwt
from shared import keys
from shared.errors import ColdrootError, RequestRejected, Unauthenticated, Unsupported
from shared.keys import KeyKind, PublicKey
from shared.keystore import private_key_pem

T = int(NOW.timestamp())
OTHER = PrivateJwk.of(keys.generate(KeyKind.EC_P256))
RSA = keys.generate(KeyKind.RSA)
TRUSTED = (TrustedKey(key=SIGNER.key.public_key(), kid=SIGNER.kid, algorithm="ES256"),)
EXPECTED = Expected(issuer="admin", audience=SIGN_AUDIENCE, now=NOW)


def nobody(prompt: str) -> bytes:
    raise AssertionError(f"no secret was to be asked for: {prompt}")


def changed(**changes: object) -> Expected:
    fields = {"issuer": "admin", "audience": SIGN_AUDIENCE, "now": NOW, **changes}
    return Expected(**fields)  # type: ignore[arg-type]


def refused(token: str, code: str, expected: Expected = EXPECTED, trusted: tuple[TrustedKey, ...] = TRUSTED) -> str:
    with pytest.raises(ColdrootError) as caught:
        verify_jwt(token, trusted, expected)
    assert caught.value.code == code, caught.value.message
    return caught.value.message


def test_the_good_token_passes() -> None:
    """Without this, all refusals below would prove nothing."""
    assert verify_jwt(forge(), TRUSTED, EXPECTED).claims["sub"] == "foo.local"


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (forge() + ".", "jwt.form"),
        (forge().replace(".", "=.", 1), "jwt.form"),
        (forge() + "=", "jwt.form"),
        (" " + forge(), "jwt.form"),
        (".".join(["a"] * 5), "jwt.form"),
        ("a" * 70_000, "jwt.form"),
        (forge(b'{"iss":"admin","iss":"admin"}'), "jwt.form"),
        (forge(b'{"exp":NaN}'), "jwt.form"),
        (forge('{"iss":"admin"}'.encode("utf-16")), "jwt.form"),
        (forge(b'"admin"'), "jwt.form"),
        (forge(head=b"[]"), "jwt.form"),
        (json.dumps({"payload": "e30", "signatures": []}), "jwt.form"),
        (forge(head=header(alg=...)), "jwt.alg"),
        (forge(head=header(alg="none")), "jwt.alg"),
        (forge(head=header(alg="nOnE")), "jwt.alg"),
        (raw(header(alg="none")) + "." + raw(claims()) + ".", "jwt.alg"),
        (forge(head=header(alg="HS256")), "jwt.alg"),
        (forge(head=header(alg="ES384")), "jwt.alg"),
        (forge(head=header(alg=["ES256"])), "jwt.alg"),
        (forge(head=header(alg="es256")), "jwt.alg"),
        (forge(head=header(crit=["exp"])), "jwt.crit"),
        (forge(head=header(crit=[])), "jwt.crit"),
        (forge(head=header(b64=False)), "jwt.b64"),
        (forge(head=header(typ="at+jwt")), "jwt.typ"),
        (forge(head=header(typ=1)), "jwt.typ"),
        (forge(head=header(cty="JWT")), "jwt.cty"),
        (forge(head=header(kid="another")), "jwt.kid"),
        (forge(head=header(kid=7)), "jwt.kid"),
        (forge(key=OTHER.key), "jwt.signature"),
        (forge()[:-10], "jwt.signature"),
        (forge().rpartition(".")[0] + "." + b64(bytes(64)), "jwt.signature"),
        (forge().rpartition(".")[0] + ".", "jwt.signature"),
    ],
)
def test_form_header_and_signature(token: str, code: str) -> None:
    """RFC 7515 §5.2 and RFC 8725 §3: whatever is wrong before the claims is told by its name."""
    refused(token, code)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": ...}, "jwt.iss"),
        ({"iss": "Admin"}, "jwt.iss"),
        ({"iss": ["admin"]}, "jwt.iss"),
        ({"iss": "1:2"}, "jwt.iss"),
        ({"sub": 7}, "jwt.sub"),
        ({"sub": ":x"}, "jwt.sub"),
        ({"jti": None}, "jwt.jti"),
        ({"aud": ...}, "jwt.aud"),
        ({"aud": []}, "jwt.aud"),
        ({"aud": SIGN_AUDIENCE + "/"}, "jwt.aud"),
        ({"aud": [SIGN_AUDIENCE, 1]}, "jwt.aud"),
        ({"aud": {"a": SIGN_AUDIENCE}}, "jwt.aud"),
        ({"exp": ...}, "jwt.exp"),
        ({"exp": T}, "jwt.exp"),
        ({"exp": T - 1}, "jwt.exp"),
        ({"exp": str(T + 60)}, "jwt.exp"),
        ({"exp": True}, "jwt.exp"),
        ({"exp": -1e300}, "jwt.exp"),
        ({"nbf": T + 1}, "jwt.nbf"),
        ({"nbf": 10**30}, "jwt.nbf"),
        ({"nbf": None}, "jwt.nbf"),
        ({"iat": T + 1}, "jwt.iat"),
        ({"iat": "now"}, "jwt.iat"),
    ],
)
def test_claims(changes: dict[str, object], code: str) -> None:
    """RFC 7519 §4.1: a registered claim of the wrong kind, missing or not met is named with its paragraph."""
    assert "RFC 7519 §4.1" in refused(forge(claims(**changes)), code)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["https://a.example", SIGN_AUDIENCE]},
        {"exp": T + 0.5},
        {"nbf": T, "iat": T},
        {"nbf": ..., "iat": ..., "jti": ..., "sub": ...},
        {"exp": 10**30},
        {"sub": "spiffe://a/b"},
        {"other": {"deep": [1]}},
    ],
)
def test_what_the_rfc_allows(changes: dict[str, object]) -> None:
    """To the letter also means: nothing is refused that RFC 7519 allows (fractions, lists, absent optional claims)."""
    verify_jwt(forge(claims(**changes)), TRUSTED, EXPECTED)


def test_leeway_moves_both_ends() -> None:
    """Two clocks differ; the leeway must help exactly as far as it was asked to."""
    late, early = forge(claims(exp=T - 30)), forge(claims(nbf=T + 30, iat=T + 30))
    for token, short in ((late, "jwt.exp"), (early, "jwt.nbf")):
        refused(token, short, changed(leeway=timedelta(seconds=29)))
        verify_jwt(token, TRUSTED, changed(leeway=timedelta(seconds=31)))


def test_kinds_of_token_are_kept_apart() -> None:
    """RFC 8725 §3.11: an access token must not pass for an identity token, nor the reverse."""
    special = forge(head=header(typ="at+JWT"))
    verify_jwt(special, TRUSTED, changed(typ="application/at+jwt"))
    refused(forge(), "jwt.typ", changed(typ="at+jwt"))
    verify_jwt(forge(head=header(typ=...)), TRUSTED, EXPECTED)


def test_keys_in_the_token_are_never_used() -> None:
    """RFC 8725 §3.5, §3.10: a forger brings a key, a chain, an address; the trusted key decides all the same."""
    brought = {"jwk": OTHER.public().to_json(), "jku": "https://evil.example/keys", "x5c": ["AAAA"]}
    refused(forge(head=header(**brought), key=OTHER.key), "jwt.signature")
    verify_jwt(forge(head=header(**brought)), TRUSTED, EXPECTED)


def test_the_key_is_chosen_by_the_caller_and_kid() -> None:
    """RFC 7515 §4.1.4: of several keys the named one is tried, and only that one."""
    both = (*TRUSTED, TrustedKey(key=OTHER.key.public_key(), kid=OTHER.kid, algorithm="ES256"))
    verify_jwt(forge(), both, EXPECTED)
    refused(forge(head=header(kid=OTHER.kid)), "jwt.signature", trusted=both)
    refused(forge(head=header(kid=...)), "jwt.which-key", trusted=both)
    verify_jwt(forge(head=header(kid=...)), both, changed(kid=SIGNER.kid))
    refused(forge(), "jwt.kid", changed(kid=OTHER.kid), trusted=both)
    refused(forge(head=header(kid=...)), "jwt.kid", changed(kid="neither"), trusted=both)
    # A PEM key has no name, so it is the one that the caller means.
    verify_jwt(forge(), (TrustedKey(key=SIGNER.key.public_key()),), EXPECTED)


def test_one_algorithm_a_key() -> None:
    """RFC 8725 §3.1: an RSA key goes with six algorithms; the token must not be the one that chooses."""
    token = forge(head=header(alg="PS256", kid=...), key=RSA, algorithm="PS256")
    bare = (TrustedKey(key=RSA.public_key()),)
    refused(token, "jwt.which-algorithm", trusted=bare)
    refused(token, "jwt.alg", changed(algorithm="RS256"), bare)
    verify_jwt(token, bare, changed(algorithm="PS256"))
    verify_jwt(token, bare, changed(any_algorithm=True))
    refused(forge(), "jwt.alg", changed(any_algorithm=True), bare)
    fixed = (TrustedKey(key=RSA.public_key(), algorithm="RS256"),)
    refused(token, "jwt.alg", trusted=fixed)
    refused(token, "jwt.which-algorithm", changed(algorithm="PS256"), fixed)
    refused(token, "jwk.algorithm", changed(algorithm="ES256"), bare)


@pytest.mark.parametrize("kind", list(KeyKind))
def test_every_kind_of_key(kind: KeyKind) -> None:
    """Each kind of key that is made here must also be verified here, from each form of file."""
    signer = PrivateJwk.of(RSA if kind is KeyKind.RSA else keys.generate(kind))
    token = forge(head=header(alg=signer.algorithm, kid=signer.kid), key=signer.key, algorithm=signer.algorithm)
    public: PublicKey = signer.key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    secret = b"correct horse"
    locked = jwe.encrypt(signer.to_json_bytes(), secret, rng=lambda size: bytes(range(size)), p2c=1000)
    for data in (
        pem,
        private_key_pem(signer.key, secret, rounds=1000),
        json.dumps(signer.public().to_json()).encode(),
        signer.to_json_bytes(),
        locked.encode(),
        jwe_file.file_form(locked),
    ):
        trusted = parse_trusted_key(data, lambda _: secret, what="key file")
        verify_jwt(token, (trusted,), changed(algorithm=signer.algorithm))


def test_sets_of_keys() -> None:
    """RFC 7517 §5: a set of an identity provider holds keys for other purposes, which must not stop the right one."""
    foreign: list[object] = [
        {"kty": "oct", "k": "AAAA", "kid": SIGNER.kid},
        {"kty": "XYZ"},
        {**OTHER.public().to_json(), "use": "enc"},
        SIGNER.public().to_json(),
    ]
    found = parse_trusted_set(json.dumps({"keys": foreign}).encode(), nobody, what="set")
    assert [each.kid for each in found] == [SIGNER.kid]
    for bad in (b'{"keys": []}', b'{"keys": {}}', b"{}", b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', b'{"keys": [1]}'):
        with pytest.raises(RequestRejected):
            parse_trusted_set(bad, nobody, what="set")
    leaked = {"keys": [json.loads(SIGNER.to_json_bytes())]}
    with pytest.raises(RequestRejected, match="private key where a public one belongs"):
        parse_trusted_set(json.dumps(leaked).encode(), nobody, what="set")
    with pytest.raises(RequestRejected, match="a set of keys") as caught:
        parse_trusted_key(b'{"keys": []}', nobody, what="key file")
    assert caught.value.code == "jwk.set"
    with pytest.raises(Unsupported, match="shared secret"):
        parse_trusted_key(b'{"kty": "oct", "k": "AAAA"}', nobody, what="key file")
    for junk in (b"", b"xyz", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(RequestRejected):
            parse_trusted_key(junk, nobody, what="key file")


@given(
    st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda data: f"{b64(data)}.{b64(data)}.{b64(data)}"))
)
@settings(max_examples=200, deadline=None)
def test_any_text_is_refused_politely(text: str) -> None:
    """A parser's exception would be a traceback on the terminal of whoever was sent a hostile token."""
    with pytest.raises(Unauthenticated):
        verify_jwt(text, TRUSTED, EXPECTED)


@given(
    st.dictionaries(
        st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=4,
        ),
    )
)
@settings(max_examples=150, deadline=None)
def test_any_claims_of_a_signer_are_judged_not_crashed_on(payload: dict[str, object]) -> None:
    """A signer that we trust may still write nonsense: numbers beyond the calendar, lists for texts."""
    try:
        found = verify_jwt(forge(payload), TRUSTED, EXPECTED)
    except Unauthenticated:
        return
    assert found.claims["iss"] == "admin"


# The command line.


def run(*arguments: str, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(cli, ["jwt", *arguments], input=stdin)


@pytest.fixture(name="key_file")
def _key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(SIGNER.public().to_json()))
    return path


@pytest.fixture(name="fresh")
def _fresh() -> str:
    return forge(claims(exp=4_000_000_000, nbf=0, iat=0))


def test_inspect_prints_what_the_page_prints() -> None:
    """The production page pipes a token into inspect --insecure and reads header, payload, signature."""
    token = forge()
    result = run("inspect", "--insecure", stdin=token + "\n")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert list(shown) == ["header", "payload", "signature"]
    assert shown["header"] == header()
    assert shown["payload"] == claims()
    assert shown["signature"] == token.rpartition(".")[2]
    assert CliRunner().invoke(cli, ["crypto", "jwt", "inspect", "--insecure"], input=token).stdout == result.stdout


def test_inspect_shows_also_what_verify_refuses() -> None:
    """One looks at a token because something is wrong with it."""
    for head in (header(alg="none"), header(x5cInsecure=["AAAA"]), header(crit=["b64"])):
        assert json.loads(run("inspect", "--insecure", stdin=forge(head=head)).stdout)["header"] == head


def test_inspect_without_insecure_is_wrong_usage() -> None:
    """What is not verified must not be taken for verified."""
    result = run("inspect", stdin=forge())
    assert result.exit_code == 2
    assert "jwt verify" in result.stderr
    assert result.stdout == ""


def test_a_hostile_token_cannot_drive_the_terminal() -> None:
    """A claim with an escape sequence could rewrite what the person reads."""
    token = forge(json.dumps({"sub": "\x1b[2J\u009b2J\u202egnp", "ok": "ä"}, ensure_ascii=False).encode(), header())
    shown = run("inspect", "--insecure", stdin=read_jwt(token).text).stdout
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert json.loads(shown)["payload"] == {"sub": "\x1b[2J\u009b2J\u202egnp", "ok": "ä"}


def test_verify_prints_the_token_or_names_the_check(key_file: Path, fresh: str) -> None:
    """The exit status is what a script relies on; the line on stderr is what a person repairs it by."""
    good = ("verify", "--key", str(key_file), "--iss", "admin")
    result = run(*good, "--aud", SIGN_AUDIENCE, stdin=fresh)
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["payload"]["sub"] == "foo.local"
    result = run(*good, "--aud", "somebody else", stdin=fresh)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "aud (RFC 7519 §4.1.3)" in result.stderr
    assert "[jwt.aud]" in result.stderr
    expired = run(*good, "--aud", SIGN_AUDIENCE, stdin=forge(claims(exp=1, nbf=0, iat=0)))
    assert "the token expired at 1970-01-01T00:00:01Z [jwt.exp]" in expired.stderr


def test_verify_by_a_set(tmp_path: Path, fresh: str) -> None:
    """OpenID providers publish sets; the token names its key."""
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"keys": [OTHER.public().to_json(), SIGNER.public().to_json()]}))
    result = run("verify", "--jwks", str(path), "--iss", "admin", "--aud", SIGN_AUDIENCE, stdin=fresh)
    assert result.exit_code == 0, result.stderr


def test_private_key_files_open_with_their_password(tmp_path: Path, fresh: str) -> None:
    """Whoever has the pair only must not need another tool to get the public half."""
    key, password = tmp_path / "key.pem", tmp_path / "password"
    key.write_bytes(private_key_pem(SIGNER.key, b"correct horse", rounds=1000))
    password.write_bytes(b"correct horse\n")
    key.chmod(0o600)
    password.chmod(0o600)
    arguments = ("verify", "--key", str(key), "--iss", "admin", "--aud", SIGN_AUDIENCE)
    assert run(*arguments, "--password-file", str(password), stdin=fresh).exit_code == 0
    password.write_bytes(b"wrong")
    result = run(*arguments, "--password-file", str(password), stdin=fresh)
    assert result.exit_code == 1
    assert "[key.wrong-password]" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--iss", "a", "--aud", "b"], "--key"),
        (["--key", "k", "--jwks", "s", "--iss", "a", "--aud", "b"], "--key"),
        (["--key", "k", "--aud", "b"], "--iss"),
        (["--key", "k", "--iss", "a"], "--aud"),
        (["--key", "k", "--iss", "", "--aud", "b"], "--iss"),
        (["--key", "k", "--iss", "a", "--aud", "b", "--leeway", "6m"], "--leeway"),
        (["--key", "k", "--iss", "a", "--aud", "b", "--leeway", "-1s"], "--leeway"),
        (["--key", "k", "--iss", "a", "--aud", "b", "--alg", "HS256"], "--alg"),
    ],
)
def test_expectations_must_be_said(arguments: list[str], complaint: str) -> None:
    """A verification that expects nothing accepts a token that was meant for somebody else."""
    result = run("verify", *arguments, stdin=forge())
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_subtle_lets_expectations_go(key_file: Path) -> None:
    """As in step: who knows what they do may leave issuer, audience and end unchecked."""
    token = forge(claims(exp=..., nbf=0, iat=0))
    assert run("verify", "--key", str(key_file), "--subtle", stdin=token).exit_code == 0
    assert run("verify", "--key", str(key_file), "--subtle", "--iss", "other", stdin=token).exit_code == 1


@pytest.mark.parametrize("stdin", [b"", b"\n", "tök.en.x".encode()])
def test_no_token_is_told(stdin: bytes) -> None:
    """An empty variable in a script must not look like a verified token."""
    result = run("inspect", "--insecure", stdin=stdin)
    assert result.exit_code == 1
    assert "[jwt." in result.stderr
