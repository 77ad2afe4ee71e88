"""``online rekey``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from online.cli.options import FILE, Where, done, force_option, key_options, where_options
from online.cli.renewing import EXIT_NOT_DUE, EXPIRES_IN, finish_interrupted, is_due
from online.key_choice import KeyChoice
from online.renewal import renew as renewing
from online.renewal.attempt import in_use
from online.renewal.install import check_pair_outputs, check_room, install_pair
from online.renewal.pair import Pair
from shared import terminal
from shared.keystore import private_key_pem


@click.command()
@click.argument("crt_file", metavar="CRT", type=FILE)
@click.argument("key_file", metavar="KEY", type=str)
@click.option("--out-cert", type=FILE, help="Write the new certificate here. [default: CRT]")
@click.option("--out-key", type=FILE, help="Write the new key here. [default: KEY]")
@click.option("--expires-in", metavar="TIME", help=EXPIRES_IN)
@click.option(
    "--mtls/--no-mtls",
    default=True,
    show_default=True,
    help="Prove the certificate by TLS, or by a token signed with its key, which a step-ca does not take for this.",
)
@click.option("--password-file", type=FILE, help="Private file with the password of KEY, or the PIN of its HSM.")
@key_options
@force_option("Rekey also when it is not due yet, and replace the files of --out-cert and --out-key.")
@where_options
@click.pass_context
def rekey(
    ctx: click.Context,
    *,
    where: Where,
    crt_file: Path,
    key_file: str,
    out_cert: Path | None,
    out_key: Path | None,
    expires_in: str | None,
    mtls: bool,
    password_file: Path | None,
    key: KeyChoice,
    force: bool,
) -> None:
    """Renew a certificate for a new key.

    Makes a key, asks the CA with the old pair, checks the answer as online renew does, and replaces both files. A new
    key is encrypted as KEY is. Two files cannot be replaced in one instant; the order is: a hidden file beside KEY
    that holds both new parts, then KEY, then CRT. A crash in between loses nothing: the next online renew or rekey of
    the pair finishes the change. With both --out-cert and --out-key the old pair stays. Exit status as of online renew.

    \b
    Examples:
      online rekey --force foo.crt foo.key
      online rekey foo.crt foo.key --out-cert new.crt --out-key new.key --kty RSA
    """
    if (out_cert is None) != (out_key is None):
        raise click.UsageError("give --out-cert and --out-key together: a new key fits no old certificate")
    in_place = out_cert is None
    certificate, key_path = out_cert or crt_file, out_key or Path(key_file)
    secret = terminal.secret_from(password_file)
    check_pair_outputs(certificate, key_path, overwrite=in_place or force)
    pair = Pair(name=crt_file.name, certificate=crt_file, key=key_file, password_file=password_file)
    finish_interrupted(pair)
    chain = renewing.load_chain(crt_file)
    # Into other files nothing is replaced, so there is nothing to wait for.
    if not is_due(chain, expires_in, force=force or not in_place):
        ctx.exit(EXIT_NOT_DUE)
    with in_use(pair, secret) as old:
        if in_place:
            check_room(certificate, key_path)
        new_key = key.generate()
        new = renewing.rekey(where.trust(), old.identity, new_key, now=datetime.now(UTC), mtls=mtls)
        pem = private_key_pem(new_key, old.password)
    replacing = old.chain[0] if in_place else None
    install_pair(certificate, key_path, new, pem, overwrite=in_place or force, replacing=replacing)
    done("Certificate", certificate)
    done("Private Key", key_path)
