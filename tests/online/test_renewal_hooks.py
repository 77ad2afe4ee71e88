"""Who is told after a renewal: everybody, with what they need to know, and nobody in vain without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.step_ca import FakeCa
from hypothesis import given
from hypothesis import strategies as st

from online.renewal.hooks import Hooks, Renewed, parse_signal, shell_command, split_command, tell
from shared import keys
from shared.errors import RequestRejected
from shared.keys import KeyKind

CA = FakeCa()
KEY = keys.generate(KeyKind.EC_P256).public_key()
OLD, NEW = CA.leaf(KEY, "foo.local")[0], CA.leaf(KEY, "foo.local")[0]


def renewed() -> Renewed:
    return Renewed(certificate=Path("/c/foo.crt"), key="/c/foo.key", old=OLD, new=NEW, rekeyed=False)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", code)


@pytest.fixture(name="listener")
def _listener(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes down which signal ended it."""
    code = "import signal, sys; print('up', flush=True); sys.exit(signal.sigwait({1, 10}))"
    blocked = f"import signal; signal.pthread_sigmask(0, {{1, 10}}); {code}"
    process = subprocess.Popen(python(blocked), stdout=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_command_learns_what_was_renewed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A script that reloads the right service must know which certificate it was; its talk does not go to stdout."""
    out = tmp_path / "told"
    code = f"import os; print('talk'); open({str(out)!r}, 'w').write(repr({{k: v for k, v in os.environ.items()}}))"
    environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "MINE": "kept"}
    assert tell(Hooks(commands=(python(code),)), renewed(), environment=environment) == ()
    told = eval(out.read_text())  # noqa: S307 (written by the line above)
    assert told["MINE"] == "kept"
    assert told["COLDROOT_CERTIFICATE"] == "/c/foo.crt"
    assert told["COLDROOT_KEY"] == "/c/foo.key"
    assert told["COLDROOT_SERIAL"] == str(NEW.serial_number)
    assert told["COLDROOT_OLD_SERIAL"] == str(OLD.serial_number)
    assert told["COLDROOT_NOT_AFTER"].endswith("Z")
    assert told["COLDROOT_EVENT"] == "renewed"
    # A command that spoke to the service manager would speak for the agent.
    assert not any(name.startswith(("NOTIFY", "WATCHDOG")) for name in told)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "talk\n")


def test_words_meet_no_shell() -> None:
    """step splits at each space; a shell would obey what stands in a path."""
    assert split_command("""echo 'a b' "c d" e\\ f $HOME;ls""") == ("echo", "a b", "c d", "e f", "$HOME;ls")
    assert shell_command("echo $HOME; ls") == ("/bin/sh", "-c", "echo $HOME; ls")
    for bad in ("", "   ", "echo 'no end"):
        with pytest.raises(RequestRejected):
            split_command(bad)
    with pytest.raises(RequestRejected):
        shell_command("  ")


def test_all_are_told_though_some_fail(listener: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """In step a signal that fails keeps the command from running, and nobody hears of either."""
    mark = tmp_path / "mark"
    hooks = Hooks(
        commands=(
            python("raise SystemExit(3)"),
            ("/nonexistent/program",),
            python("import os; os.kill(os.getpid(), 9)"),
            python(f"open({str(mark)!r}, 'w')"),
        ),
        pid_file=tmp_path / "missing.pid",
    )
    failed = tell(hooks, renewed())
    assert len(failed) == 4
    for line, word in zip(failed, ("does not exist", "exited with 3", "cannot be started", "SIGKILL"), strict=True):
        assert word in line
    assert mark.exists()
    # And the other way round.
    assert len(tell(Hooks(commands=(python("raise SystemExit(3)"),), pid=listener.pid), renewed())) == 1
    assert listener.wait(10) == 1


def test_the_pid_file_is_read_when_the_signal_is_sent(listener: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """step reads it once at its start: after the server's restart it signals whoever has the old number now."""
    file = tmp_path / "pid"
    hooks = Hooks(pid_file=file, signal=parse_signal("USR1"))
    file.write_text(f"{listener.pid}\n")
    assert tell(hooks, renewed()) == ()
    assert listener.wait(10) == 10


@pytest.mark.parametrize("content", ["", "0", "-1", "1", "12x", "99999999999", "١٢٣"])
def test_a_pid_file_with_anything_else_signals_nobody(tmp_path: Path, content: str) -> None:
    """0 and -1 would signal a whole group or everybody, 1 the machine's first process."""
    file = tmp_path / "pid"
    file.write_text(content)
    assert "no number of a process" in tell(Hooks(pid_file=file), renewed())[0]


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """A hook that waits for ever would keep all further renewals from happening."""
    file = tmp_path / "child"
    code = (
        "import subprocess, time; "
        f"p = subprocess.Popen(['sleep', '60']); open({str(file)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    failed = tell(Hooks(commands=(python(code),), timeout=timedelta(seconds=1)), renewed())
    assert "took longer than 1 s" in failed[0]
    child = int(file.read_text())
    for _ in range(500):
        # It may be a zombie until whoever inherited it looks.
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return
        time.sleep(0.01)
    raise AssertionError("the grandchild lives")


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (40, "signal 40")])
def test_a_command_that_a_signal_ends(number: int, name: str) -> None:
    """A signal without a name must be a line like any other, not an error of ours that hides it."""
    (line,) = tell(Hooks(commands=(("/bin/sh", "-c", f"kill -{number} $$"),)), renewed())
    assert line.endswith(f"was ended by {name}")


def test_a_command_that_hangs_and_is_not_ours_to_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one that went through sudo the kernel lets nobody rid us; it is said, and not waited for."""
    hung: list[int] = []

    def refuse(group: int, number: int) -> None:
        assert number == signal.SIGKILL
        hung.append(group)
        raise PermissionError(1, "Operation not permitted")

    really = os.killpg
    monkeypatch.setattr(os, "killpg", refuse)
    hooks = Hooks(commands=(("sleep", "60"),), timeout=timedelta(seconds=0.1))
    with warnings.catch_warnings():
        # That it still runs is the point.
        warnings.simplefilter("ignore", ResourceWarning)
        (line,) = tell(hooks, renewed())
    really(hung[0], signal.SIGKILL)
    assert "may not be killed" in line


def test_a_command_is_tried_again(tmp_path: Path) -> None:
    """A service that is just being restarted cannot be reloaded, and can a second later."""
    file = tmp_path / "count"
    code = f"f = open({str(file)!r}, 'a+'); f.seek(0); n = len(f.read()); f.write('x'); raise SystemExit(n < 2)"
    pauses: list[float] = []
    assert tell(Hooks(commands=(python(code),), retries=2), renewed(), sleep=pauses.append) == ()
    assert pauses == [1.0, 2.0]
    file.unlink()
    failed = tell(Hooks(commands=(python(code),), retries=1), renewed(), sleep=pauses.append)
    assert "tried 2 times" in failed[0]


@pytest.mark.parametrize("text", ["1", "HUP", "SIGHUP", "hup"])
def test_spellings_of_a_signal(text: str) -> None:
    """step takes the number, people write the name."""
    assert parse_signal(text) is signal.SIGHUP


@given(st.text(max_size=12))
def test_no_other_text_is_a_signal(text: str) -> None:
    """A misread signal could be KILL."""
    try:
        found = parse_signal(text)
    except RequestRejected:
        return
    assert text.upper().removeprefix("SIG") in {found.name.removeprefix("SIG"), str(int(found)), f"0{int(found)}"} or (
        int(text) == found
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"pid": 0},
        {"pid": 1},
        {"pid": -5},
        {"pid": 2, "pid_file": Path("x")},
        {"timeout": timedelta(0)},
        {"timeout": timedelta(hours=2)},
        {"retries": -1},
        {"retries": 11},
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, object]) -> None:
    """Found out when the daemon starts, not at the first renewal weeks later."""
    with pytest.raises(RequestRejected):
        Hooks(**settings)  # type: ignore[arg-type]
