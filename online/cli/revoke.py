"""``online revoke``."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from online.cli.options import FILE, SignerChoice, Where, signer_options, token_options, where_options
from online.enrol import read_token
from online.provisioners.protocol import Operation
from online.renewal import renew as renewing
from shared import terminal
from shared.errors import RequestRejected
from shared.keystore import open_key
from shared.serials import parse_serial

# RFC 5280 §5.3.1; 7 is unused.
_REASONS = {
    "unspecified": 0,
    "keycompromise": 1,
    "cacompromise": 2,
    "affiliationchanged": 3,
    "superseded": 4,
    "cessationofoperation": 5,
    "certificatehold": 6,
    "removefromcrl": 8,
    "privilegewithdrawn": 9,
    "aacompromise": 10,
}


def parse_reason(text: str) -> int:
    """Read ``--reasonCode``: a number, or a name of RFC 5280 in any case.

    Raises:
        RequestRejected: ``revoke.reason``.
    """
    code = int(text) if text.isascii() and text.isdigit() and len(text) < 3 else _REASONS.get(text.lower(), -1)  # noqa: PLR2004 (10 has two digits)
    if code not in _REASONS.values():
        raise RequestRejected(
            "revoke.reason", f"{text[:40]!r} is not a reason for a revocation", hint=f"one of {', '.join(_REASONS)}"
        )
    return code


@click.command()
@click.argument("serial", required=False)
@click.option("--cert", "cert_file", type=FILE, help="The certificate to revoke, proven with --key over TLS.")
@click.option("--key", "key_file", help="Its private key: a file or pkcs11: URI.")
@click.option("--reason", default="", help="Why, in words, for the CA's record.")
@click.option("--reasonCode", "reason_code", default="unspecified", help="Why, by name or number of RFC 5280.")
@click.option("--key-password-file", type=FILE, help="Private file with the password of --key, or the PIN of its HSM.")
@token_options
@signer_options
@where_options
def revoke(
    *,
    where: Where,
    signer: SignerChoice,
    serial: str | None,
    cert_file: Path | None,
    key_file: str | None,
    token: str | None,
    reason: str,
    reason_code: str,
    key_password_file: Path | None,
) -> None:
    """Revoke a certificate: it is not renewed any more.

    It stays valid until it ends, which is soon for a short-lived one. Three ways: the certificate with its key, a
    revocation token, or the SERIAL number (decimal, or hexadecimal after 0x) with the provisioner's password.

    \b
    Examples:
      online revoke --cert foo.crt --key foo.key
      online revoke 59636004850364466675608080466579278406 --reasonCode superseded --reason 'moved to bar.local'
      online revoke --token TOKEN 59636004850364466675608080466579278406
    """
    code = parse_reason(reason_code)
    number = parse_serial(serial) if serial is not None else None
    if (cert_file is None) != (key_file is None):
        raise click.UsageError("give --cert and --key together")
    if cert_file is not None and token is not None:
        raise click.UsageError("give --cert and --key, or a token, not both")
    if cert_file is not None and key_file is not None:
        with open_key(key_file, terminal.secret_from(key_password_file)) as key:
            identity = renewing.check_pair(renewing.load_chain(cert_file), key)
            own = identity.chain[0].serial_number
            if number not in {None, own}:
                raise RequestRejected("revoke.other-serial", f"{cert_file} has another serial number than {number}")
            where.trust().client().revoke(own, reason_code=code, reason=reason, identity=identity)
            number = own
    elif token is not None:
        facts = read_token(token)
        number = parse_serial(facts.subject) if number is None else number
        where.trust(facts.hint).client().revoke(number, reason_code=code, reason=reason, token=token)
    elif number is not None:
        trust = where.trust()
        minter = signer.online(trust, Operation.REVOKE, where.home)
        ticket = minter.revoke_token(number, now=datetime.now(UTC), rng=os.urandom)
        trust.client().revoke(number, reason_code=code, reason=reason, token=ticket)
    else:
        raise click.UsageError("give the SERIAL number, or --cert and --key, or a token")
    terminal.result(f"Certificate with Serial Number {number} has been revoked.")
