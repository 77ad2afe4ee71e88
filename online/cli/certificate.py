"""``online certificate`` and ``online sign``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from online.cli.further_files import FurtherFiles, further_files_options
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
from online.cli.step_spelling import CertificateOrTool
from online.enrol import certify, check_wishes, csr_names, is_identity_token, make_csr, read_token
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


def _bundle_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--bundle/--no-bundle", default=True, show_default=True, help="Whether CRT also gets the intermediate."
    )(command)


@click.command(cls=CertificateOrTool)
@click.argument("subject")
@click.argument("crt_file", metavar="CRT", type=FILE)
@click.argument("key_file", metavar="KEY", type=FILE)
@click.option("--san", "sans", multiple=True, help="Name to certify, without a token. Repeatable. [default: SUBJECT]")
@_validity_options
@token_options
@signer_options
@key_options
@_bundle_option
@further_files_options
@force_option("Replace CRT and KEY, and the further files.")
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
    bundle: bool,
    further: FurtherFiles,
    force: bool,
) -> None:
    """Get a new key and a certificate for it.

    Makes a key, has it certified for SUBJECT, and writes the certificate with its intermediate to CRT and the key,
    unencrypted and 0600, to KEY. Authorised by a one-time token; without one, a token is minted here with the
    provisioner's password. A token alone is enough on a machine that knows nothing of the CA: it names the CA and
    the fingerprint of its root. When anything fails, neither file appears. For programs that want one file, --pem and
    --p12 write it, 0600, after the two.

    \b
    Examples:
      online certificate foo.local foo.crt foo.key --token-file foo.token
      online certificate foo.local foo.crt foo.key --san foo.local --san 10.0.0.7 --not-after 8h
      online certificate foo.local foo.crt foo.key --kty RSA --size 3072
      online certificate foo.local foo.crt foo.key --p12 foo.p12 --p12-password-file p12.pass
    """
    check_pair_outputs(crt_file, key_file, overwrite=force)
    check_wishes(not_before=not_before, not_after=not_after, now=datetime.now(UTC))
    if token is not None and sans and not is_identity_token(token):
        raise click.UsageError("the token decides the names: give --san to online token instead")
    files = further.prepare(crt_file, key_file, overwrite=force)
    trust, ticket, names = _authorise(where, signer, token, subject, sans or (subject,))
    new_key = key.generate()
    csr = make_csr(new_key, subject, names)
    chain = certify(trust, csr, ticket, not_before=not_before, not_after=not_after, now=datetime.now(UTC))
    written = chain if bundle else chain[:1]
    install_pair(crt_file, key_file, written, private_key_pem(new_key, None), overwrite=force)
    done("CA", trust.url)
    done("Certificate", crt_file)
    done("Private Key", key_file)
    files.write(chain, new_key)


@click.command()
@click.argument("csr_file", metavar="CSR", type=FILE)
@click.argument("crt_file", metavar="CRT", type=FILE)
@_validity_options
@token_options
@signer_options
@_bundle_option
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
    bundle: bool,
    force: bool,
) -> None:
    """Get a certificate for a request (CSR) whose key was made elsewhere.

    The names are those of the request; a token must be for the same ones. Writes the certificate with its
    intermediate to CRT.

    \b
    Examples:
      online sign foo.csr foo.crt --token-file foo.token
      online sign foo.csr foo.crt --provisioner admin
    """
    check_output(crt_file, overwrite=force)
    check_wishes(not_before=not_before, not_after=not_after, now=datetime.now(UTC))
    csr = load_csr(durable.read_file(csr_file), what=f"file {csr_file}")
    subject, names = csr_names(csr)
    trust, ticket, _ = _authorise(where, signer, token, subject, names)
    chain = certify(trust, csr, ticket, not_before=not_before, not_after=not_after, now=datetime.now(UTC))
    install_certificate(crt_file, chain if bundle else chain[:1], overwrite=force)
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
    if facts.is_identity and (facts.subject.lower() != subject.lower() or tuple(sans) != (subject,)):
        # An administrator's word: whether the holder is one, the CA decides.
        return where.trust(facts.hint), token, sans
    if facts.subject.lower() != subject.lower():
        raise RequestRejected(
            "token.other-subject", f"the token is for {printable(facts.subject)}, not for {printable(subject)}"
        )
    return where.trust(facts.hint), token, facts.sans
