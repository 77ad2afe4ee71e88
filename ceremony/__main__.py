"""The entry point of the ``ceremony`` command: isolate first, import the rest afterwards."""

from __future__ import annotations

from shared.command import isolate


def main() -> None:
    """Run the ``ceremony`` command."""
    isolate()
    from ceremony.cli import cli  # noqa: PLC0415 (nothing else may be imported before isolation)

    cli(prog_name="ceremony")


if __name__ == "__main__":
    main()
