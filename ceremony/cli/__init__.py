"""The ``ceremony`` command: options, one call, what to print. Everything else lives in the rooms."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import click

from ceremony.cli.acts import intermediate, rehearse, root
from ceremony.cli.bags import bag
from ceremony.cli.bundles import bundle
from ceremony.cli.deviations import compare_command, exception
from ceremony.cli.keys import backup, destroy, hsm, inventory
from ceremony.cli.papers import host, transcript, verify
from ceremony.cli.plans import plan, rehearse_amend
from ceremony.cli.reporting import report
from ceremony.cli.resuming import rehearse_resume, resume
from ceremony.cli.roots import crl, cross, rollover
from ceremony.cli.running import rehearse_run, run, status
from ceremony.cli.scripts import script
from ceremony.cli.shares import share
from ceremony.cli.signatures import SIGNATURES
from shared.command import Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="coldroot", prog_name="ceremony")
def cli() -> None:
    """Conduct a root key ceremony on an air-gapped machine.

    \b
    A ceremony in six commands:
      ceremony plan new > plan.toml          write the plan, and have everybody agree
      ceremony script render …               print what people work from
      ceremony host check                    is this machine fit for it?
      ceremony rehearse root …               practise, as often as you like
      ceremony root create …                 the real one
      ceremony intermediate sign …           sign what an issuing node asks for
    The same day act by act in one run: ceremony run. Years later, another day:
      ceremony plan amend …                  a plan that follows the one in force
    And by anybody, without HSM and shares:
      ceremony verify DIR

    Shell completion: eval "$(_CEREMONY_COMPLETE=bash_source ceremony)", or zsh_source, fish_source.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _orderly)


def _orderly(number: int, _: object) -> NoReturn:
    """End as an error does: the act that is under way records its failure."""
    sys.exit(128 + number)


_BEFORE = (plan, script, host)
_ON_THE_DAY = (run, status, root, intermediate, rehearse, share, bag, exception, resume)
_LATER = (crl, cross, rollover, backup, destroy, hsm, inventory)
_AFTERWARDS = (bundle, compare_command, transcript, verify, report)
for _command in (*_BEFORE, *_ON_THE_DAY, *_LATER, *_AFTERWARDS):
    cli.add_command(_command)
for _command in SIGNATURES:
    transcript.add_command(_command)
rehearse.add_command(rehearse_amend)
rehearse.add_command(rehearse_resume)
rehearse.add_command(rehearse_run)
