"""``online certificate`` and ``online sign``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from online.cli.options import (
    FILE,
    SignerChoice,
    Where,
    done,
    force_option,
    key_options,
    signer_options,
    token_options,
    where_options,
)
from online.enrol import certify, csr_names, make_csr, read_token
from online.key_choice import KeyChoice
from online.provisioners.protocol import Operation
from online.renewal.install import check_output, check_pair_outputs, install_certificate, install_pair
from online.trust import Trust
from shared import durable
from shared.errors import RequestRejected
from shared.keystore import private_key_pem
from shared.names import printable
from shared.pem import load_csr


def _validity_options(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option(
        "--not-after", default="", metavar="TIME", help="End of the certificate: RFC 3339, or a duration from now."
    )(command)
    return click.option(
        "--not-before", default="", metavar="TIME", help="Begin of the certificate: RFC 3339, or a duration from now."
    )(command)


@click.command()
@click.argument("subject")
@click.argument("crt_file", metavar="CRT", type=FILE)
@click.argument("key_file", metavar="KEY", type=FILE)
@click.option("--san", "sans", multiple=True, help="Name to certify, without a token. Repeatable. [default: SUBJECT]")
@_validity_options
@token_options
@signer_options
@key_options
@force_option("Replace CRT and KEY.")
@where_options
def certificate(
    *,
    where: Where,
    signer: SignerChoice,
    subject: str,
    crt_file: Path,
    key_file: Path,
    sans: tuple[str, ...],
    token: str | None,
    not_before: str,
    not_after: str,
    key: KeyChoice,
    force: bool,
) -> None:
    """Get a new key and a certificate for it.

    Makes a key, has it certified for SUBJECT, and writes the certificate with its intermediate to CRT and the key,
    unencrypted and 0600, to KEY. Authorised by a one-time token; without one, a token is minted here with the
    provisioner's password. A token alone is enough on a machine that knows nothing of the CA: it names the CA and
    the fingerprint of its root. When anything fails, neither file appears.

    \b
    Examples:
      online certificate foo.local foo.crt foo.key --token TOKEN
      online certificate foo.local foo.crt foo.key --san foo.local --san 10.0.0.7 --not-after 8h
      online certificate foo.local foo.crt foo.key --kty RSA --size 3072
    """
    check_pair_outputs(crt_file, key_file, overwrite=force)
    if token is not None and sans:
        raise click.UsageError("the token decides the names: give --san to online token instead")
    trust, ticket, names = _authorise(where, signer, token, subject, sans or (subject,))
    new_key = key.generate()
    csr = make_csr(new_key, subject, names)
    chain = certify(trust, csr, ticket, not_before=not_before, not_after=not_after, now=datetime.now(UTC))
    install_pair(crt_file, key_file, chain, private_key_pem(new_key, None), overwrite=force)
    done("CA", trust.url)
    done("Certificate", crt_file)
    done("Private Key", key_file)


@click.command()
@click.argument("csr_file", metavar="CSR", type=FILE)
@click.argument("crt_file", metavar="CRT", type=FILE)
@_validity_options
@token_options
@signer_options
@force_option("Replace CRT.")
@where_options
def sign(
    *,
    where: Where,
    signer: SignerChoice,
    csr_file: Path,
    crt_file: Path,
    token: str | None,
    not_before: str,
    not_after: str,
    force: bool,
) -> None:
    """Get a certificate for a request (CSR) whose key was made elsewhere.

    The names are those of the request; a token must be for the same ones. Writes the certificate with its
    intermediate to CRT.

    \b
    Examples:
      online sign foo.csr foo.crt --token TOKEN
      online sign foo.csr foo.crt --provisioner admin
    """
    check_output(crt_file, overwrite=force)
    csr = load_csr(durable.read_file(csr_file), what=f"file {csr_file}")
    subject, names = csr_names(csr)
    trust, ticket, _ = _authorise(where, signer, token, subject, names)
    chain = certify(trust, csr, ticket, not_before=not_before, not_after=not_after, now=datetime.now(UTC))
    install_certificate(crt_file, chain, overwrite=force)
    done("CA", trust.url)
    done("Certificate", crt_file)


def _authorise(
    where: Where, signer: SignerChoice, token: str | None, subject: str, sans: Sequence[str]
) -> tuple[Trust, str, Sequence[str]]:
    """Return the CA, a token for it, and the names that the token is for."""
    if token is None:
        trust = where.trust()
        minter = signer.online(trust, Operation.SIGN, where.home)
        return trust, minter.sign_token(subject, sans, now=datetime.now(UTC), rng=os.urandom), sans
    facts = read_token(token)
    if facts.subject.lower() != subject.lower():
        raise RequestRejected(
            "token.other-subject", f"the token is for {printable(facts.subject)}, not for {printable(subject)}"
        )
    return where.trust(facts.hint), token, facts.sans
