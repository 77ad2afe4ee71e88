"""The step graph: what can be done is a script, what cannot is refused by the step's name."""

from __future__ import annotations

import functools
import itertools
import json
import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from fakes.day import DAY, day, example, with_acts
from hypothesis import given, settings
from hypothesis import strategies as st

from ceremony.cli import cli
from ceremony.cli.running import command_of
from ceremony.plan import ActKind, Plan, PlannedAct, load_plan
from ceremony.progress import Progress, State
from ceremony.script import Known, Script, Section, Step, StepName, build_script, numbered
from shared.errors import RequestRejected

_ACTS = ("intermediate:alpha", "intermediate:beta", "crl:first", "rotate:spring", "backup", "restore-test", "destroy")


def _steps(script: Script) -> list[Step]:
    return [step for section in script.sections for step in section.steps]


def test_a_day_with_every_kind_of_act() -> None:
    """An act without steps would stand in the plan, and nobody would know what to do."""
    script = build_script(day())
    assert {section.act.kind for section in script.sections if section.act} == set(ActKind) - {ActKind.AMEND}
    assert [section.title for section in script.sections][:2] == ["Before the first act", "The root"]
    for step in _steps(script):
        assert step.does, step.id
        assert step.who


def test_names_lead_to_one_step() -> None:
    """A name that stands for two steps leads people to the wrong box."""
    for plan in (day(), example()):
        ids = [step.id for step in _steps(build_script(plan))]
        assert len(set(ids)) == len(ids)
    assert len({name.heading for name in StepName}) == len(StepName)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*\.[a-z]+(-[a-z]+)*", name) for name in StepName)


def test_what_each_step_needs_was_brought() -> None:
    """A script that lets a step come too early is the mistake that the graph is for."""
    script = build_script(day())
    brought: set[str] = set()
    for step in _steps(script):
        assert step.requires <= brought, step.id
        brought = brought - step.ends | step.provides


@pytest.mark.parametrize(
    ("acts", "step", "lacks", "hint"),
    [
        (("root", "crl:first", "intermediate:beta"), "crl:first/list.signed", "the certificate of beta", "comes later"),
        (("root", "crl:first"), "crl:first/list.signed", "the certificate of beta", "nothing in this plan"),
        (
            ("root", "backup", "rotate:spring", "restore-test"),
            "restore-test/backup.restored",
            "a sealed backup",
            "rotate:spring/pins.replaced took it away",
        ),
        (("root", "rotate:spring", "backup", "restore-test"), "", "", ""),
        (("root", "backup", "restore-test", "rotate:spring"), "", "", ""),
        (("intermediate:beta", "destroy"), "", "", ""),
        (("crl:first", "rotate:spring"), "", "", ""),
    ],
)
def test_impossible_orders_name_the_step(acts: tuple[str, ...], step: str, lacks: str, hint: str) -> None:
    """Whoever ordered the acts wrongly must be told which one, and what it waits for."""
    if not step:
        build_script(with_acts(*acts))
        return
    with pytest.raises(RequestRejected) as refused:
        build_script(with_acts(*acts))
    assert refused.value.code == "script.impossible"
    assert f"the step {step} cannot be done" in refused.value.message
    assert lacks in refused.value.message
    assert hint in str(refused.value.hint)


def test_what_was_taken_away_is_told() -> None:
    """A fact that an earlier step ended is another mistake than one that nobody brought."""
    plan = example()

    key = frozenset({"a key"})
    step = functools.partial(Step, act="x", who="y", does=("z",))
    steps = (
        step(name=StepName.ROOT_KEY, provides=key),
        step(name=StepName.KEY_DESTROYED, requires=key, ends=key),
        step(name=StepName.ROOT_CERTIFICATE, requires=key),
    )
    with pytest.raises(RequestRejected) as refused:
        Script.make(plan, (Section(title="t", act=None, steps=steps),), given=())
    assert refused.value.hint == "x/key.destroyed took it away"


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(_ACTS), length=st.integers(1, len(_ACTS)), begins=st.booleans())
def test_any_order_is_a_script_or_refused(order: list[str], length: int, begins: bool) -> None:
    """No order may lead to a script that stops in the middle of the day, and none to an error of another kind."""
    acts = [*(["root"] if begins else []), *order[:length]]
    try:
        plan: Plan = with_acts(*acts)
    except RequestRejected as refusal:
        assert refusal.code == "plan.invalid"  # noqa: PT017 (some orders are no plan at all)
        return
    revokes_beta = "crl:first" in acts and "intermediate:beta" in itertools.takewhile("crl:first".__ne__, acts)
    possible = "crl:first" not in acts or revokes_beta or (not begins and "intermediate:beta" not in acts)
    # A backup is opened by the shares that it was made under alone.
    tried = acts[acts.index("backup") : acts.index("restore-test")] if "restore-test" in acts else []
    possible = possible and "rotate:spring" not in tried
    try:
        build_script(plan)
    except RequestRejected as refusal:
        assert refusal.code == "script.impossible"  # noqa: PT017 (the expected refusal)
        assert not possible
    else:
        assert possible


def test_who_holds_the_shares_changes_on_the_way() -> None:
    """After a rotation the old custodians must not be called to unlock the HSM."""
    script = build_script(day())
    told = {step.id: " ".join(step.does) for step in _steps(script)}
    assert "3 of 5 custodians" in told["rotate:spring/hsm.unlocked"]
    assert "2 of 3 officers" in told["backup/hsm.unlocked"]
    assert "(Emmy) is shredded" in told["rotate:spring/old-sheets.destroyed"]
    assert "Gottfried" in told["destroy/old-sheets.destroyed"]


def test_known_digests_are_expected() -> None:
    """A digest that was computed beforehand must be on the paper, not only on the screen of the day."""
    known = Known(tbs={"root.crt": b"\1" * 32}, requests={"alpha": b"\2" * 32})
    expected = [each.digest for step in _steps(build_script(day(), known)) for each in step.expects]
    assert expected.count(b"\1" * 32) == 1
    assert expected.count(b"\2" * 32) == 1
    assert bytes.fromhex(day().crosses[0].fingerprint) in expected
    assert expected.count(day().digest) == 2


def test_long_calendars_are_summed_up() -> None:
    """A hundred dates beside a hundred boxes are ticked without being read."""
    text = DAY.replace("count = 4", "count = 120").replace("period_days = 90", "period_days = 30")
    told = next(step for step in _steps(build_script(load_plan(text.encode()))) if step.name is StepName.LIST_SIGNED)
    assert any("118 lists between them" in line for line in told.does)
    assert len(told.does) < 10


def test_show(tmp_path: Path) -> None:
    """The order of the day is looked at before anything is printed."""
    file = tmp_path / "plan.toml"
    file.write_text(DAY)
    done = CliRunner().invoke(cli, ["script", "show", "--plan", str(file)])
    assert done.exit_code == 0, done.output
    assert "2.3   [hsm.initialised] The HSM is initialised" in done.stdout
    listed = json.loads(CliRunner().invoke(cli, ["script", "show", "--plan", str(file), "--json"]).stdout)
    assert [each["id"] for each in listed] == [step.id for step in _steps(build_script(day()))]
    assert listed[0]["announced"] is False


def test_one_day_of_a_plan() -> None:
    """A plan may live for years: each day's paper has its own acts, and the custodians of that day."""
    script = build_script(day(), only=["restore-test", "destroy"])
    assert [str(section.act) for section in script.sections if section.act] == ["restore-test", "destroy"]
    steps = {step.id: step for step in _steps(script)}
    assert "Bag of Gottfried" in steps["preparation/bags.opened"].blanks
    assert "2 of 3 officers" in " ".join(steps["restore-test/hsm.unlocked"].does)
    assert script.plan.digest == day().digest
    build_script(day(), only=["crl:first"])
    with pytest.raises(RequestRejected) as refused:
        build_script(day(), only=["crl:second"])
    assert refused.value.code == "script.unplanned-act"
    first_day = build_script(day(), only=["root", "intermediate:alpha"])
    assert any(step.name is StepName.SHEETS_SEALED for step in _steps(first_day))


def test_printed_commands_exist() -> None:
    """A command that is typed from paper and refused costs a tired room half an hour."""
    commands = {step.command for step in _steps(build_script(day())) if step.command}
    commands |= {step.command for step in _steps(build_script(with_acts("crl:first")))}
    assert len(commands) > 10
    for text in filter(None, commands):
        found, words = _found(text)
        assert not isinstance(found, click.Group) or words == ["--version"], text
        known = {option for each in found.params for option in each.opts}
        assert {word for word in words if word.startswith("--")} <= known, text


def test_the_printed_act_is_held_against_its_rehearsal_and_prints_its_sheets() -> None:
    """Whoever types what the paper says would otherwise run a day that nothing compares with what was practised."""
    for act in day().acts:
        text = next(step.command for _, step in numbered(day(), act) if step.command)
        found, words = _found(text)
        given = found.make_context("", words).params
        assert given["rehearsed"] == Path("practice"), text
        assert given.get("print_with", "lp -d sheets") == "lp -d sheets", text


@pytest.mark.parametrize("act", [each for each in day().acts if each.kind is not ActKind.AMEND], ids=str)
def test_status_of_a_rehearsal_names_the_rehearsals_command(act: PlannedAct) -> None:
    """A command of the real day, typed in practice, is refused, or asks for sheets that nobody has."""
    text = command_of(day(), Progress(act=act, state=State.TO_DO), practice=True)
    found, words = _found(text)
    given = found.make_context("", words).params
    assert text.startswith("ceremony rehearse ")
    assert (given["words_file"], given["directory"]) == (Path("WORDS"), Path("DIR"))


def _found(text: str) -> tuple[click.Command, list[str]]:
    """Return the command that a line names, and the words that it is given."""
    program, *words = shlex.split(text)
    assert program == "ceremony"
    found: click.Command = cli
    while isinstance(found, click.Group) and words and words[0] in found.commands:
        found = found.commands[words.pop(0)]
    return found, words


def test_sections_by_act() -> None:
    """A dry run of an act that the plan does not have must say so."""
    script = build_script(example())
    assert script.section(example().acts[1]).title == "The intermediate intermediate"
    with pytest.raises(RequestRejected) as refused:
        script.section(day().acts[3])
    assert refused.value.code == "script.unplanned-act"
