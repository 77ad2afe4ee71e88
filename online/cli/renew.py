"""``online renew`` and ``online rekey``."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from online.cli.options import FILE, Where, agree, done, force_option, key_options, where_options
from online.client import Chain
from online.key_choice import KeyChoice
from online.renewal import renew as renewing
from online.renewal.install import check_output, check_pair_outputs, install_certificate, install_pair
from online.renewal.schedule import Need, needs_renewal, parse_expires_in
from shared import terminal
from shared.durations import format_duration
from shared.keystore import open_key, private_key_pem

EXIT_NOT_DUE = 3

_EXPIRES_IN = "Only if it ends within this time (8h) or share of its life (33%); --force does not overrule this."


class _SwitchesByValue(click.Command):
    """Takes ``--mtls=false`` and ``--mtls=true``, as step's own switches are written."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite the two forms, then parse as click does."""
        known = {"--mtls=false": "--no-mtls", "--mtls=true": "--mtls"}
        return super().parse_args(ctx, [known.get(each.lower(), each) for each in args])


@click.command(cls=_SwitchesByValue)
@click.argument("crt_file", metavar="CRT", type=FILE)
@click.argument("key_file", metavar="KEY", type=str)
@click.option("--out", "--output-file", "out", type=FILE, help="Write the new certificate here and leave CRT as it is.")
@click.option("--expires-in", metavar="TIME", help=_EXPIRES_IN)
@click.option(
    "--mtls/--no-mtls",
    default=True,
    show_default=True,
    help="Prove the certificate by TLS, or by a token signed with its key: for a CA behind an HTTP proxy, and always "
    "when it has expired. --mtls=false works too.",
)
@click.option("--password-file", type=FILE, help="Private file with the password of KEY, or the PIN of its HSM.")
@force_option("Renew also when it is not due yet, and replace the file of --out.")
@where_options
@click.pass_context
def renew(
    ctx: click.Context,
    *,
    where: Where,
    crt_file: Path,
    key_file: str,
    out: Path | None,
    expires_in: str | None,
    mtls: bool,
    password_file: Path | None,
    force: bool,
) -> None:
    """Renew a certificate with its own key, before it ends.

    Due is a certificate when a third of its life remains, or as --expires-in says; a random twentieth earlier, so
    that many machines do not come at once. The CA's answer must be for the same key and names, lead to the trusted
    root and not be older: then it replaces CRT in one step. Otherwise nothing changes. KEY is a file or pkcs11: URI.

    \b
    Exit status:
      0  renewed
      1  failed or refused by the CA; the old certificate is untouched
      2  wrong usage
      3  not due yet, nothing done (at a terminal you are asked instead)

    \b
    Examples:
      online renew foo.crt foo.key
      online renew --force foo.crt foo.key
      online renew --expires-in 8h foo.crt foo.key && systemctl reload nginx
      online renew --force --mtls=false foo.crt foo.key
    """
    secret = terminal.secret_from(password_file)
    check_output(crt_file if out is None else out, overwrite=out is None or force)
    _finish_interrupted(crt_file, key_file)
    chain = renewing.load_chain(crt_file)
    if not _is_due(chain, expires_in, force=force):
        ctx.exit(EXIT_NOT_DUE)
    with open_key(key_file, secret) as key:
        identity = renewing.check_pair(chain, key)
        new = renewing.renew(where.trust(), identity, mtls=mtls, now=datetime.now(UTC))
    install_certificate(out or crt_file, new, overwrite=out is None or force)
    terminal.say(f"Your certificate has been saved in {out or crt_file}.")


@click.command()
@click.argument("crt_file", metavar="CRT", type=FILE)
@click.argument("key_file", metavar="KEY", type=str)
@click.option("--out-cert", type=FILE, help="Write the new certificate here. [default: CRT]")
@click.option("--out-key", type=FILE, help="Write the new key here. [default: KEY]")
@click.option("--expires-in", metavar="TIME", help=_EXPIRES_IN)
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
    password_file: Path | None,
    key: KeyChoice,
    force: bool,
) -> None:
    """Renew a certificate for a new key.

    Makes a key, asks the CA with the old pair over TLS, checks the answer as online renew does, and replaces both
    files. Two files cannot be replaced in one instant; the order is: a hidden file beside KEY that holds both new
    parts, then KEY, then CRT. A crash in between loses nothing: the next online renew or rekey of the pair finishes
    the change. With both --out-cert and --out-key the old pair stays. Exit status as of online renew.

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
    _finish_interrupted(crt_file, key_file)
    chain = renewing.load_chain(crt_file)
    # Into other files nothing is replaced, so there is nothing to wait for.
    if not _is_due(chain, expires_in, force=force or not in_place):
        ctx.exit(EXIT_NOT_DUE)
    with open_key(key_file, secret) as old_key:
        identity = renewing.check_pair(chain, old_key)
        new_key = key.generate()
        new = renewing.rekey(where.trust(), identity, new_key, now=datetime.now(UTC))
    install_pair(certificate, key_path, new, private_key_pem(new_key, None), overwrite=in_place or force)
    done("Certificate", certificate)
    done("Private Key", key_path)


def _finish_interrupted(certificate: Path, key: str) -> None:
    if renewing.finish_interrupted(certificate, key):
        terminal.say("An interrupted rekey of this pair was completed.")


def _is_due(chain: Chain, expires_in: str | None, *, force: bool) -> bool:
    leaf = chain[0]
    window = parse_expires_in(expires_in, leaf) if expires_in is not None else None
    if window is None and force:
        return True
    need = needs_renewal(leaf, datetime.now(UTC), window, chance=random.random())  # noqa: S311 (spreads load only)
    if need.due:
        return True
    terminal.say(f"certificate not renewed: {_when(need)}")
    return window is None and agree("Renew it now all the same?")


def _when(need: Need) -> str:
    remaining, due_in = (timedelta(seconds=int(each.total_seconds())) for each in (need.remaining, need.due_in))
    return f"expires in {format_duration(remaining)}, due in {format_duration(due_in)}"
