"""``online renew``: once, or as an agent that never stops."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from online.cli.options import FILE, Where, force_option, where_options
from online.cli.renew_options import hook_options, output_options
from online.cli.renewing import EXIT_NOT_DUE, EXIT_NOT_TOLD, EXPIRES_IN, finish_interrupted, is_due
from online.renewal import renew as renewing
from online.renewal import untold
from online.renewal.agent import Agent
from online.renewal.attempt import refresh_outputs, renew_pair
from online.renewal.hooks import Hooks, Renewed, hear_of_ends, tell
from online.renewal.install import check_output
from online.renewal.outputs import Outputs
from online.renewal.pair import Pair
from online.renewal.pair_files import load_pairs
from shared import terminal
from shared.command import EXIT_FAILED
from shared.durations import parse_duration


class _SwitchesByValue(click.Command):
    """Takes ``--mtls=false`` and ``--mtls=true``, as step's own switches are written."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite the two forms, then parse as click does."""
        known = {"--mtls=false": "--no-mtls", "--mtls=true": "--mtls"}
        return super().parse_args(ctx, [known.get(each.lower(), each) for each in args])


@click.command(cls=_SwitchesByValue)
@click.argument("crt_file", metavar="[CRT", type=FILE, required=False)
@click.argument("key_file", metavar="KEY]", type=str, required=False)
@click.option("--out", "--output-file", "out", type=FILE, help="Write the new certificate here and leave CRT as it is.")
@click.option("--expires-in", metavar="TIME", help=EXPIRES_IN)
@click.option(
    "--mtls/--no-mtls",
    default=True,
    show_default=True,
    help="Prove the certificate by TLS, or by a token signed with its key: for a CA behind an HTTP proxy, and always "
    "when it has expired or is not for clients. --mtls=false works too.",
)
@click.option("--rekey", is_flag=True, help="Make a new key of the same kind each time.")
@click.option("--password-file", type=FILE, help="Private file with the password of KEY, or the PIN of its HSM.")
@output_options
@hook_options
@click.option("--daemon", is_flag=True, help="Keep running and renew each time that it becomes due.")
@click.option("--renew-period", metavar="TIME", help="With --daemon: renew this often, whatever life is left.")
@click.option("--pairs", type=FILE, help="With --daemon: keep every pair that a .toml file in this directory names.")
@click.option("--status-file", type=FILE, help="With --daemon: keep this JSON file up to date.")
@click.option("--step-compat", is_flag=True, help="Exit as step does: 0 also when nothing was due, 1 for any failure.")
@force_option("Renew also when it is not due yet, and replace the file of --out.")
@where_options
@click.pass_context
def renew(
    ctx: click.Context,
    *,
    where: Where,
    crt_file: Path | None,
    key_file: str | None,
    out: Path | None,
    expires_in: str | None,
    mtls: bool,
    rekey: bool,
    password_file: Path | None,
    outputs: Outputs,
    hooks: Hooks,
    daemon: bool,
    renew_period: str | None,
    pairs: Path | None,
    status_file: Path | None,
    step_compat: bool,
    force: bool,
) -> None:
    """Renew a certificate before it ends: once, or for as long as it is needed.

    Due is a certificate when a third of its life remains, or as --expires-in says; a random twentieth earlier, so
    that many machines do not come at once. The CA's answer must be for the same key and names (with --rekey for the
    new key), lead to the trusted root and not be older: then it replaces CRT in one step. Otherwise nothing changes.
    KEY is a file or pkcs11: URI. Then whoever uses the certificate is told: by --signal to --pid or --pid-file, and by
    --exec, both also when one of them fails. A command finds COLDROOT_CERTIFICATE, COLDROOT_KEY, COLDROOT_SERIAL,
    COLDROOT_OLD_SERIAL, COLDROOT_NOT_BEFORE, COLDROOT_NOT_AFTER and COLDROOT_EVENT in its environment.

    A daemon renews at two thirds of life, again after a failure in seconds, then more and more rarely, and at SIGHUP
    now. It ends with 0 at TERM or INT, and never by itself.

    \b
    Exit status:
      0  renewed
      1  failed or refused by the CA; the old certificate is untouched
      2  wrong usage
      3  not due yet, nothing done (at a terminal you are asked instead)
      4  renewed, but a command or a signal failed

    \b
    Examples:
      online renew foo.crt foo.key
      online renew --force foo.crt foo.key
      online renew --expires-in 8h --exec "systemctl reload nginx" foo.crt foo.key
      online renew --daemon --pid-file /run/nginx.pid foo.crt foo.key
      online renew --daemon --pairs /etc/coldroot/pairs --status-file /run/coldroot/renewal.json
    """
    hear_of_ends()
    pair = None
    if crt_file is not None and key_file is not None:
        pair = Pair(
            name=crt_file.name,
            certificate=crt_file,
            key=key_file,
            password_file=password_file,
            expires_in=expires_in,
            period=parse_duration(renew_period) if renew_period is not None else None,
            mtls=mtls,
            rekey=rekey,
            outputs=outputs,
            hooks=hooks,
        )
    if not daemon:
        if pairs is not None or renew_period is not None or status_file is not None:
            raise click.UsageError("--pairs, --renew-period and --status-file go with --daemon")
        if pair is None:
            raise click.UsageError("give CRT and KEY")
        if rekey and out is not None:
            raise click.UsageError("with --rekey there are two new files: use online rekey --out-cert --out-key")
        _once(ctx, pair, where, out=out, force=force, step_compat=step_compat)
        return
    if out is not None:
        raise click.UsageError("--daemon replaces CRT, so --out does not go with it")
    if (pair is None) == (pairs is None):
        raise click.UsageError("with --daemon give CRT and KEY, or --pairs")
    if pair is None and (crt_file or expires_in or renew_period or rekey or password_file or outputs or hooks):
        raise click.UsageError("with --pairs the files say everything about a pair")
    Agent(
        pairs=lambda refused: (pair,) if pair is not None else load_pairs(_given(pairs), refused=refused),
        trust=lambda each: replace(where, ca_url=each.ca_url or where.ca_url, root=each.root or where.root).trust(),
        status_file=status_file,
        force=force,
    ).run()


def _given(pairs: Path | None) -> Path:
    assert pairs is not None
    return pairs


def _once(ctx: click.Context, pair: Pair, where: Where, *, out: Path | None, force: bool, step_compat: bool) -> None:
    """Renew once.

    1. What would fail afterwards fails now, before the CA is asked.
    2. Not due: only what an earlier run left undone is done, telling included.
    3. Renewed, then told.
    """
    secret = terminal.secret_from(pair.password_file)
    # 1.
    if out is not None:
        check_output(out, overwrite=force)
    else:
        pair.check_outputs()
    finish_interrupted(pair)
    # 2.
    if not is_due(renewing.load_chain(pair.certificate), pair.expires_in, force=force):
        refresh_outputs(pair, secret)
        renewed = untold.owed(pair)
        if renewed is not None:
            terminal.say("An earlier run was interrupted before all were told of its renewal.")
            _tell(ctx, pair, renewed, step_compat=step_compat)
        ctx.exit(0 if step_compat else EXIT_NOT_DUE)
    # 3.
    renewed = renew_pair(pair, where.trust(), secret, now=datetime.now(UTC), out=out)
    terminal.say(f"Your certificate has been saved in {out or pair.certificate}.")
    _tell(ctx, pair, renewed, step_compat=step_compat)


def _tell(ctx: click.Context, pair: Pair, renewed: Renewed, *, step_compat: bool) -> None:
    failed = tell(pair.hooks, renewed)
    for line in failed:
        terminal.warn(line)
    if failed:
        ctx.exit(EXIT_FAILED if step_compat else EXIT_NOT_TOLD)
    untold.fulfilled(pair, renewed)
