"""Where the HSM is: ``hsm.toml``, apart from the plan, so that rehearsal and ceremony share one plan.

Invariants: unknown keys are refused with their path; no PIN has a place in the file. Reading changes nothing;
``activate`` does what a SoftHSM rehearsal needs (its configuration file, and ``SOFTHSM2_CONF`` in this process).
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from shared import durable
from shared.errors import NotFound, RequestRejected
from shared.keystore import Module, find_module, load_module
from shared.strict import Table

LONGEST_TOKEN_LABEL = 32
_SOFTHSM_CONFIGURATION = """\
# Written by coldroot from hsm.toml; changes are lost.
directories.tokendir = {directory}
objectstore.backend = file
log.level = ERROR
slots.removable = false
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HsmSettings:
    """Which module, which token."""

    module: Path
    """Absolute path of the PKCS#11 library."""
    token_label: str
    """The label that a new token gets, and by which it is found when no serial is known."""
    token_serial: str | None = None
    software_keys: bool = False
    """Whether kinds of key that the token lacks are made in software (``ceremony.hsm.practice``): rehearsals only."""
    softhsm_directory: Path | None = None
    """Where SoftHSM keeps its tokens; ``None`` when the module is not SoftHSM, or configured elsewhere."""

    def activate(self, *, create: bool = False) -> Module:
        """Make the module ready in this process.

        Args:
            create: make SoftHSM's directory when it does not exist; only who initialises a token wants that.

        Raises:
            NotFound: ``hsm.module-missing`` or ``hsm.token-directory-missing``.
            PeerFailed: ``hsm.module-unusable``.
            StoreFailed: ``file.write-failed``.
        """
        if self.softhsm_directory is not None:
            self._configure_softhsm(self.softhsm_directory, create=create)
        return load_module(self.module)

    def _configure_softhsm(self, directory: Path, *, create: bool) -> None:
        if create:
            durable.make_directory(directory, private=True)
        elif not directory.is_dir():
            raise NotFound("hsm.token-directory-missing", f"SoftHSM's token directory {directory} does not exist")
        file = directory / "softhsm2.conf"
        content = _SOFTHSM_CONFIGURATION.format(directory=directory).encode("utf-8")
        if not file.is_file() or durable.read_file(file) != content:
            durable.replace(file, content, mode=durable.PRIVATE)
        os.environ["SOFTHSM2_CONF"] = str(file)


def load_hsm_settings(path: Path) -> HsmSettings:
    """Read ``hsm.toml``.

    Args:
        path: the file; ``softhsm.directory`` in it is relative to its directory.

    Raises:
        RequestRejected: ``file.*`` or ``hsm-settings.*`` with the dotted key.
        NotFound: ``hsm.module-missing``.
    """
    try:
        values = tomllib.loads(durable.read_text(path, limit=64 << 10))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RequestRejected("hsm-settings.malformed", f"{path} is not TOML: {error}") from None
    with Table(values, code="hsm-settings") as table:
        module = table.required("module", str)
        if "/" in module and not module.startswith("/"):
            raise table.refuse("module", "an absolute path or a name such as softhsm2 is wanted")
        label = table.required("token_label", str)
        if not label.isprintable() or label.strip() != label or not 0 < len(label.encode()) <= LONGEST_TOKEN_LABEL:
            raise table.refuse("token_label", f"1 to {LONGEST_TOKEN_LABEL} printable bytes are wanted")
        serial = table.optional("token_serial", str)
        if serial is not None and (not serial.isprintable() or not serial.strip()):
            raise table.refuse("token_serial", "the serial is wanted as the vendor's tool prints it")
        software = table.optional("software_keys", bool) or False
        directory = _softhsm(table, path.absolute().parent) if table.optional("softhsm", dict) is not None else None
    return HsmSettings(
        module=Path(module) if module.startswith("/") else find_module(module),
        token_label=label,
        token_serial=serial,
        software_keys=software,
        softhsm_directory=directory,
    )


def _softhsm(top: Table, base: Path) -> Path:
    with top.table("softhsm") as table:
        text = table.required("directory", str)
        directory = base / text
        # SoftHSM's configuration knows comments but no quotes.
        if not text or not str(directory).isprintable() or "#" in str(directory) or str(directory).endswith(" "):
            raise table.refuse("directory", "a printable path without # is wanted")
        return directory
