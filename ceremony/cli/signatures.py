"""The ``transcript`` commands about signatures: state what is signed, sign, file a signature, tell who signed."""

from __future__ import annotations

from pathlib import Path

import click

from ceremony.conduct.directory import CeremonyDirectory
from ceremony.signing import countersign
from ceremony.signing.act import signed_acts
from ceremony.signing.openssh import openssh_signs
from ceremony.transcript import LIMIT_BYTES, Record, verify_chain
from shared import durable, terminal
from shared.crossing.words import digest_words

_PATH = click.Path(path_type=Path)
_name_option = click.option("--as", "name", required=True, help="The signer's name, as in allowed_signers.")
_signers_option = click.option(
    "--allowed-signers", type=_PATH, help="Whose SSH key is whose, as for ssh-keygen; filed with the first signature."
)
_minisign_option = click.option("--minisign-keys", type=_PATH, help="Whose minisign key is whose: NAME KEY a line.")


@click.command("statement")
@click.argument("directory", type=_PATH)
def transcript_statement(directory: Path) -> None:
    """Print what people sign: the transcript's head. Compare its words with the paper first.

    \b
    Example, on the signer's own machine:
      ceremony transcript statement root-2026 > head.txt
      ssh-keygen -Y sign -n coldroot-transcript -f ~/.ssh/id_ed25519 head.txt    (or: minisign -Sm head.txt)
    """
    terminal.result(countersign.statement(_records(directory)[-1].digest).decode("ascii").rstrip("\n"))


@click.command("sign")
@click.argument("directory", type=_PATH)
@_name_option
@click.option("--key", type=_PATH, required=True, help="The signer's SSH key; ssh-keygen asks for its passphrase.")
@_signers_option
def transcript_sign(directory: Path, name: str, key: Path, allowed_signers: Path | None) -> None:
    """Sign the transcript's head here, with an SSH key, and file the signature.

    \b
    Example:
      ceremony transcript sign root-2026 --as Grace-Hopper --key /media/grace/id_ed25519 --allowed-signers signers
    """
    signature = openssh_signs(key, countersign.statement(_records(directory)[-1].digest))
    _file(directory, name, signature, allowed_signers=allowed_signers)


@click.command("countersign")
@click.argument("directory", type=_PATH)
@click.argument("signature", type=_PATH)
@_name_option
@_signers_option
@_minisign_option
def transcript_countersign(
    directory: Path, signature: Path, name: str, allowed_signers: Path | None, minisign_keys: Path | None
) -> None:
    """Check a signature that was made elsewhere, by SSH or minisign, and file it.

    \b
    Example:
      ceremony transcript countersign root-2026 head.txt.sig --as Grace-Hopper --allowed-signers signers
    """
    content = durable.read_file(signature)
    _file(directory, name, content, allowed_signers=allowed_signers, minisign_keys=minisign_keys)


@click.command("verify")
@click.argument("directory", type=_PATH)
@_signers_option
@_minisign_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def transcript_verify(
    directory: Path, allowed_signers: Path | None, minisign_keys: Path | None, *, as_json: bool
) -> None:
    """Verify the chain and every signature, and tell who signed which head.

    Without --allowed-signers and --minisign-keys, the lists that lie beside the transcript are believed.
    """
    records = _records(directory)
    acts = list(signed_acts(records))
    signers = _given(allowed_signers, minisign_keys) if allowed_signers or minisign_keys else None
    plans = CeremonyDirectory(path=directory).load_plans(records)
    found = list(countersign.counter_signatures(directory, records, plans, signers=signers))
    if as_json:
        terminal.result_json(
            [
                {"name": each.name, "role": each.role, "key": each.key, "record": each.record.seq,
                 "head": each.record.digest.hex()}
                for each in found
            ]
        )  # fmt: skip
        return
    terminal.result(f"ok  {len(records)} records, {len(acts)} acts signed by the program that opened them")
    for each in found:
        last = " (the last one)" if each.record is records[-1] else ", records follow it"
        role = f", {each.role}" if each.role else ", whom the plan does not name"
        terminal.result(f"ok  {each.name}{role}, signed up to record {each.record.seq}{last}")
        terminal.result(f"      {each.key}; head {' '.join(digest_words(each.record.digest)[:4])} …")
    if not found:
        terminal.warn("nobody signed the head")


def _file(
    directory: Path,
    name: str,
    signature: bytes,
    *,
    allowed_signers: Path | None,
    minisign_keys: Path | None = None,
) -> None:
    given = {countersign.SSH_SIGNERS: allowed_signers, countersign.MINISIGN_KEYS: minisign_keys}
    place = directory / countersign.DIRECTORY
    # A list that lies there already counts; another one would have to be put in its place by hand, knowingly.
    new = {each: path for each, path in given.items() if path is not None and not (place / each).exists()}
    filed = countersign.filed_signers(directory)
    signers = _given(new.get(countersign.SSH_SIGNERS), new.get(countersign.MINISIGN_KEYS))
    known = countersign.Signers(ssh={**signers.ssh, **filed.ssh}, minisign={**signers.minisign, **filed.minisign})
    path = countersign.file_signature(directory, _records(directory), name, signature, known)
    for each, source in new.items():
        durable.write_new(place / each, durable.read_file(source))
    terminal.result(str(path))


def _given(allowed_signers: Path | None, minisign_keys: Path | None) -> countersign.Signers:
    ssh, minisign = (durable.read_file(each) if each else b"" for each in (allowed_signers, minisign_keys))
    return countersign.read_signers(ssh, minisign)


def _records(directory: Path) -> tuple[Record, ...]:
    path = CeremonyDirectory(path=directory).transcript
    return verify_chain(durable.read_file(path, limit=LIMIT_BYTES))


SIGNATURES = (transcript_statement, transcript_sign, transcript_countersign, transcript_verify)
"""What the group ``transcript`` gains."""
