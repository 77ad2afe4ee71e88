"""``online jwt``: looking at tokens, and judging them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from online.cli.options import FILE
from online.jose import b64
from online.jose.jws import LARGEST_TOKEN, UnverifiedToken
from online.jose.trusted_keys import LARGEST_SET, TrustedKey, parse_trusted_set, read_trusted_key
from online.jwt_check import Expected, read_jwt, verify_jwt
from shared import durable, terminal
from shared.command import Group
from shared.durations import parse_duration
from shared.errors import RequestRejected

_ALGORITHMS = ["ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]


@click.group(cls=Group)
def jwt() -> None:
    """Look at JSON Web Tokens, and judge them. Both commands read the token from stdin.

    \b
    Examples:
      echo $TOKEN | online jwt inspect --insecure
      echo $TOKEN | online jwt verify --key issuer.pub --iss https://issuer.example.com --aud https://foo.local
    """


@jwt.command()
@click.option("--insecure", is_flag=True, help="Yes, show it although nothing is verified. Required.")
def inspect(*, insecure: bool) -> None:
    """Show what a token says, without verifying anything.

    Prints header, payload and signature as JSON. Anybody could have written them: the option --insecure says that you
    know. Use online jwt verify before you rely on a token.

    \b
    Example:
      echo $TOKEN | online jwt inspect --insecure
    """
    if not insecure:
        raise click.UsageError("nothing is verified here: say --insecure, or use online jwt verify")
    _show(read_jwt(_token()))


@jwt.command()
@click.option("--iss", "--issuer", "issuer", help="Who must have issued it. Required without --subtle.")
@click.option("--aud", "--audience", "audience", help="Whom it must be for: you. Required without --subtle.")
@click.option("--sub", "--subject", "subject", help="Whom it must be about. [default: anybody]")
@click.option("--key", "key_file", type=FILE, help="File of the trusted key: PEM or JWK, public or private.")
@click.option("--jwks", "set_file", type=FILE, help="File of a JWK Set with the trusted keys.")
@click.option("--kid", help="Which key, when the token does not say.")
@click.option(
    "--alg",
    "--algorithm",
    "algorithm",
    type=click.Choice(_ALGORITHMS),
    help="Algorithm that belongs to the key; needed for an RSA key whose file names none.",
)
@click.option("--typ", help="Kind of token that it must be, such as at+jwt. [default: JWT, or not said]")
@click.option("--leeway", default="0s", show_default=True, help="How far the two clocks may be apart; at most 5m.")
@click.option("--password-file", type=FILE, help="Private file with the password of the key file.")
@click.option("--subtle", is_flag=True, help="Allow --iss, --aud or the token's exp to be missing.")
@click.option("--insecure", is_flag=True, help="Let the token choose among the algorithms of an RSA key.")
def verify(
    *,
    issuer: str | None,
    audience: str | None,
    subject: str | None,
    key_file: Path | None,
    set_file: Path | None,
    kid: str | None,
    algorithm: str | None,
    typ: str | None,
    leeway: str,
    password_file: Path | None,
    subtle: bool,
    insecure: bool,
) -> None:
    """Verify a token, to the letter of RFC 7519, RFC 7515 and RFC 8725.

    Checks its form, header, key, algorithm, signature, issuer, subject, audience and times, in this order. When all
    hold, prints header, payload and signature as JSON. Otherwise the first check that fails is named, with the rule
    behind it, and the exit status is 1. A key, or the address of one, inside the token is never used.

    \b
    Examples:
      echo $TOKEN | online jwt verify --key issuer.pub --iss admin --aud https://ca.acme.local/1.0/sign
      online jwt verify --jwks keys.json --iss https://idp.example --aud my-client < token
      online jwt verify --key rsa.pem --alg RS256 --iss a --aud b --leeway 30s < token
    """
    if (key_file is None) == (set_file is None):
        raise click.UsageError("give the trusted key with --key, or the trusted keys with --jwks")
    for option, value in (("--iss", issuer), ("--aud", audience)):
        if not value and not subtle:
            raise click.UsageError(f"{option} says what to expect of the token; leave it away only with --subtle")
    span = parse_duration(leeway)
    if not 0 <= span.total_seconds() <= 300:  # noqa: PLR2004 (RFC 7519 §4.1.4: no more than a few minutes)
        raise click.UsageError("--leeway lies between 0s and 5m")
    expected = Expected(
        issuer=issuer or None,
        audience=audience or None,
        now=datetime.now(UTC),
        subject=subject,
        algorithm=algorithm,
        any_algorithm=insecure,
        kid=kid,
        typ=typ,
        leeway=span,
        end_required=not subtle,
    )
    _show(verify_jwt(_token(), _keys(key_file, set_file, password_file), expected))


def _keys(key_file: Path | None, set_file: Path | None, password_file: Path | None) -> tuple[TrustedKey, ...]:
    secret = terminal.secret_from(password_file)
    if set_file is not None:
        data = durable.read_file(set_file, limit=LARGEST_SET)
        return parse_trusted_set(data, secret, what=f"key set {set_file}")
    assert key_file is not None
    return (read_trusted_key(key_file, secret),)


def _token() -> str:
    data = sys.stdin.buffer.read(LARGEST_TOKEN + 2).strip()
    if not data:
        raise RequestRejected("jwt.missing", "there is no token on stdin", hint="echo $TOKEN | online jwt …")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise RequestRejected("jwt.form", "form (RFC 7519 §7.2): the token is not ASCII text") from None


def _show(token: UnverifiedToken) -> None:
    terminal.result_json(
        {"header": dict(token.header), "payload": dict(token.claims), "signature": b64.encode(token.signature)}
    )
