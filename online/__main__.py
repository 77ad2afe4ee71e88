"""The entry point of the ``online`` command: isolate first, import the rest afterwards."""

from __future__ import annotations

from shared.command import isolate


def main() -> None:
    """Run the ``online`` command."""
    isolate()
    from online.cli import cli  # noqa: PLC0415 (nothing else may be imported before isolation)

    cli(prog_name="online")


if __name__ == "__main__":
    main()
