"""The entry point of the ``online`` command: isolate first, import the rest afterwards.

Until the script runs isolated, nothing may be imported that Python has not loaded already: a removable medium or a
working directory may carry its own ``shared/``, and ``PYTHONPATH`` may point at it.
"""

# ruff: noqa: PLC0415 (imports wait for isolation)
from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the ``online`` command.

    1. Start again under ``python -I``, which looks neither at ``PYTHONPATH`` nor at the user's site directory.
    2. See that ``shared``, a common name, is the package that was installed together with this one.
    3. Only then import the command.
    """
    if not sys.flags.isolated and os.access(sys.argv[0], os.X_OK):
        os.execv(sys.executable, [sys.executable, "-I", *sys.argv])  # noqa: S606 (the same interpreter and script)

    from importlib.util import find_spec
    from pathlib import Path

    companion = find_spec("shared")
    if (
        companion is None
        or Path(companion.origin or "").resolve().parents[1:2] != Path(__file__).resolve().parents[1:2]
    ):
        sys.exit("online: the package shared does not come from this installation of coldroot")

    from online.cli import cli

    cli(prog_name="online")


if __name__ == "__main__":
    main()
