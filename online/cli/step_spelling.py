"""``online certificate verify foo.crt``: step's spelling of the tools, where ``certificate`` is a command itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from online.cli.certificate_tools import needs_renewal, p12, verify
from online.cli.inspect import fingerprint, inspect
from online.cli.trust_store import install, uninstall

_TOOLS: dict[str, click.Command] = {
    "fingerprint": fingerprint,
    "inspect": inspect,
    "install": install,
    "needs-renewal": needs_renewal,
    "p12": p12,
    "uninstall": uninstall,
    "verify": verify,
}
_HELP = frozenset({"-h", "--help"})


class CertificateOrTool(click.Command):
    """A request for a certificate; a line that is none, and begins with the name of a tool, is for that tool.

    So a host may be called ``verify``: SUBJECT CRT KEY is always a request, and no tool takes a line of that shape.
    """

    def make_context(
        self, info_name: str | None, args: Sequence[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse as a request, else as a tool's line."""
        tool = _TOOLS.get(args[0]) if args else None
        if tool is None:
            return super().make_context(info_name, list(args), parent, **extra)
        try:
            if _HELP.isdisjoint(args):
                return super().make_context(info_name, list(args), parent, **extra)
        except click.UsageError:
            pass
        return tool.make_context(f"{info_name} {args[0]}", list(args[1:]), parent, **extra)
