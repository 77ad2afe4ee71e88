"""``run``: the whole day, act by act; ``status``: how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ceremony.cli.options import (
    at_terminal,
    dir_option,
    hsm_option,
    print_option,
    rehearsed_option,
    scan_option,
    setting,
    show_head,
    words_option,
)
from ceremony.conduct.amend import read_plan
from ceremony.conduct.day import ActDone, Inputs, run_day
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.conduct.setting import Setting
from ceremony.plan import ActKind, Plan, PlannedAct
from ceremony.progress import Progress, State, progress_of
from ceremony.records import Mode
from ceremony.script import numbered
from ceremony.script.making import PRINTED, REHEARSED
from ceremony.terminal import Rehearsing
from shared import durable, terminal
from shared.errors import RequestRejected

_PATH = click.Path(path_type=Path)
# What ``resume`` goes on with; the other acts look at what was done when they are run again.
_RESUMED = frozenset({ActKind.ROOT, ActKind.INTERMEDIATE, ActKind.AMEND})
_plan_option = click.option(
    "--plan", "plan_file", type=_PATH, help="The plan that begins this day; not needed once it is in force."
)
_input_option = click.option(
    "--input",
    "given",
    multiple=True,
    metavar="NAME=FILE",
    help="What an act needs, by its name in the plan: a request, or another root. Repeat it for more files.",
)
_out_option = click.option("--out", type=_PATH, help="Directory for the replies, one in it for each intermediate.")


@click.command("run")
@dir_option
@hsm_option
@_plan_option
@_input_option
@_out_option
@scan_option
@print_option
@rehearsed_option
def run(
    directory: Path,
    hsm_file: Path,
    *,
    plan_file: Path | None,
    given: tuple[str, ...],
    out: Path | None,
    scans: tuple[Path, ...],
    print_with: str | None,
    rehearsed: Path | None,
) -> None:
    """Conduct a whole day of a real ceremony, guided: every act of the plan in its order.

    What was done is left alone, what broke off goes on. Each act begins when people agree, and asks for the files that
    it needs; an act that is refused stops the run, which can be run again. The acts have commands of their own, too.

    \b
    Example:
      ceremony run --dir root-2026 --hsm hsm.toml --plan plan.toml --rehearsed practice --out usb/replies
    """
    people = at_terminal(scans=scans, print_with=print_with)
    here = setting(directory, hsm_file, Mode.REAL, people, rehearsed=rehearsed)
    files = _given(given)

    def wanted(act: PlannedAct) -> Sequence[Path]:
        if act.name in files:
            return files[act.name]
        return [Path(each).expanduser() for each in terminal.ask_line(f"    {_needs(act)}: path").split()]

    _run(here, Inputs(files=wanted, out=out), plan_file)


@click.command("run")
@dir_option
@hsm_option
@words_option
@_plan_option
@_input_option
@_out_option
def rehearse_run(
    directory: Path,
    hsm_file: Path,
    words_file: Path,
    *,
    plan_file: Path | None,
    given: tuple[str, ...],
    out: Path | None,
) -> None:
    """Rehearse a whole day. The words of a rotation's shares go beside the first ones: WORDS-NAME.txt.

    \b
    Example:
      ceremony rehearse run --dir practice --hsm hsm.toml --words-file words.txt --plan plan.toml \\
        --input alpha=alpha/request.bundle --out replies
    """
    files = _given(given)

    def wanted(act: PlannedAct) -> Sequence[Path]:
        if act.name not in files:
            raise RequestRejected("run.no-input", f"{_needs(act)} is needed", hint=f"add --input {act.name}=FILE")
        return files[act.name]

    def words(act: PlannedAct) -> Path:
        return _words(words_file, act.name)

    # Whoever holds the shares now: every file that may have their words.
    known = [words_file, *sorted(words_file.parent.glob(_words(words_file, "*").name), reverse=True)]
    planned = [_words(words_file, name) for name in _rotations(directory, plan_file)]
    people = Rehearsing(*dict.fromkeys([*known, *planned]))
    here = setting(directory, hsm_file, Mode.REHEARSAL, people)
    _run(here, Inputs(files=wanted, out=out, words=words), plan_file)


@click.command("status")
@dir_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def status(directory: Path, as_json: bool) -> None:
    """Tell how far the day has come: each act of the plan in force, and the command for the next one.

    \b
    Example:
      ceremony status --dir root-2026
    """
    place = CeremonyDirectory(path=directory)
    records = place.load_records()
    day = place.load_plans(records).days[-1]
    found = progress_of(day, records)
    following = next((each for each in found if each.state is not State.DONE), None)
    practice = records[0].body.get("mode") == Mode.REHEARSAL
    command = command_of(day.plan, following, practice=practice) if following is not None else None
    if as_json:
        acts = [{"act": str(each.act), "state": each.state.value} for each in found]
        terminal.result_json({"day": day.plan.number, "plan": day.file, "acts": acts, "next": command})
        return
    terminal.result(f"day {day.plan.number}: {day.plan.title} ({day.file})")
    for each in found:
        terminal.result(f"  {each.state.value:11}{each.act}")
    terminal.result(
        f"next: {command}" if command is not None else "nothing is left: another day needs a plan of its own"
    )


def _run(here: Setting, inputs: Inputs, plan_file: Path | None) -> None:
    def tell(done: ActDone) -> None:
        show_head(done.head)
        terminal.result(f"done  {done.act}")

    run_day(here, inputs, plan=durable.read_file(plan_file) if plan_file is not None else None, tell=tell)


def command_of(plan: Plan, following: Progress, *, practice: bool) -> str:
    """Return what is typed next: an act that was begun is not always gone on with by its own command."""
    act, state = following.act, following.state
    if state is State.OPEN and act.kind in _RESUMED:
        out = " --out OUT" if act.kind is ActKind.INTERMEDIATE else ""
        own = f"ceremony resume --dir DIR --hsm hsm.toml{out}"
        return _practised("resume", own) if practice else own
    own = next(step.command for _, step in numbered(plan, act) if step.command)
    own = _practised(act.kind, own) if practice else own
    if state is State.BROKEN and act.kind is ActKind.ROOT:
        return f"{own} (anew, with another directory: this one stays as it is)"
    return own


def _practised(name: str, command: str) -> str:
    """Return the rehearsal's spelling of a real command: nobody types words, prints sheets, or has a run to match."""
    options = command[command.index(" --") :].replace(f" {REHEARSED}", "").replace(f" {PRINTED}", "")
    words = " --words-file WORDS" + (" --new-words-file NEW-WORDS" if name == ActKind.ROTATE else "")
    return f"ceremony rehearse {name}{options.replace(' --hsm hsm.toml', f' --hsm hsm.toml{words}')}"


def _given(given: Sequence[str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for each in given:
        name, separator, path = each.partition("=")
        if not (name and separator and path):
            raise click.UsageError("--input wants NAME=FILE, such as alpha=usb/request.bundle")
        found.setdefault(name, []).append(Path(path))
    return found


def _needs(act: PlannedAct) -> str:
    what = "the other root's certificate" if act.kind is ActKind.CROSS else "the request"
    return f"{what} of {act.name}"


def _words(first: Path, name: str) -> Path:
    return first.with_name(f"{first.stem}-{name}{first.suffix}") if name else first


def _rotations(directory: Path, plan_file: Path | None) -> list[str]:
    """Return the rotations that this day may have: their words appear while it runs."""
    place = CeremonyDirectory(path=directory)
    begun = place.transcript.exists()
    if plan_file is not None:
        plan = read_plan(durable.read_file(plan_file), place if begun else None)
    elif begun:
        plan = place.load_plans(place.load_records()).current
    else:
        return []
    return [act.name for act in plan.acts if act.kind is ActKind.ROTATE]
