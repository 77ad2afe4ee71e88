"""The whole story from end to end: ``scripts/demo`` as a newcomer runs it, and everything that it leaves behind.

The demo runs once for all the tests that only look; those that need it to go wrong run it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID
from fakes.ports import free_port
from shamir_mnemonic.wordlist import WORDLIST

from shared.crossing import bundle, transfer

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "scripts" / "demo"
BIN = Path(sys.executable).parent
TIMEOUT_SECONDS = 300


def _environment(temporary: Path, **more: str) -> dict[str, str]:
    """Return an environment as on a fresh machine, with this Python's environment in the place of ``.venv``."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("COLDROOT", "PYTHON", "STEP"))}
    if (BIN / "online").exists():
        keep["COLDROOT_VENV"] = sys.prefix
    return {**keep, "TMPDIR": str(temporary), "NO_COLOR": "1", **more}


def _is_free(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def _processes_of(directory: Path) -> list[int]:
    """Return the processes that have this demo's home in their environment."""
    mark = f"COLDROOT_HOME={directory}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it ended meanwhile, or is not ours
            continue
    return found


def _digest_of_tree(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in directory.rglob("*")
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A demo that was run to its end."""

    directory: Path
    temporary: Path
    port: int
    output: str

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command as a person would afterwards."""
        environment = _environment(self.temporary, COLDROOT_HOME=str(self.directory / "online"))
        environment["PATH"] = f"{BIN}:{environment['PATH']}"
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Run the demo once."""
    base = tmp_path_factory.mktemp("story")
    directory, temporary, port = base / "demo", base / "tmp", free_port()
    temporary.mkdir()
    done = subprocess.run(
        [DEMO, "--dir", directory, "--port", str(port)],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS,
        env=_environment(temporary), cwd=base, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return Story(directory=directory, temporary=temporary, port=port, output=output)


@contextmanager
def _running(directory: Path, temporary: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a demo in the background, its output on a pipe; whatever happens, it does not outlive the test."""
    temporary.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [DEMO, "--dir", directory, *arguments], env=_environment(temporary), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _read_until(process: subprocess.Popen[str], words: str) -> str:
    """Read the output up to the line that has these words."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    pytest.fail(f"the demo ended without saying {words!r}:\n{seen}")


def _certificates(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def test_the_story_has_numbered_steps_that_all_succeed(story: Story) -> None:
    """A newcomer follows the numbers; a step without its mark would have failed unseen."""
    numbers = [int(number) for number in re.findall(r"^ ?(\d+)\. ", story.output, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 10
    assert len(re.findall(r"✓ \d+\.\d s", story.output)) == len(numbers)


def test_what_is_left_is_what_was_promised(story: Story) -> None:
    """The tree is documented; a stray file may hold what should not be there, a missing one breaks the next step."""
    expected = [
        r"ceremony/(plan\.toml|transcript\.jsonl|root\.crt|intermediate\.crt)",
        r"ceremony/sheets/[a-z]+-[1-5]\.pdf",
        r"ceremony/tokens/.+",
        r"crossing/(request|reply)(\.bundle|-\d+\.png)",
        r"online/config/(ca|defaults)\.json",
        r"online/certs/(root_ca\.crt|intermediate_ca\.crt|intermediate_request\.bundle)",
        r"online/db/.+",
        r"online/secrets/(intermediate_ca_key|intermediate_password\.txt|provisioner_password\.txt)",
        r"client/foo\.(crt|key)",
    ]
    files = [str(path.relative_to(story.directory)) for path in story.directory.rglob("*") if path.is_file()]
    assert [name for name in files if not any(re.fullmatch(pattern, name) for pattern in expected)] == []
    for pattern in expected:
        assert any(re.fullmatch(pattern, name) for name in files), f"nothing is left that matches {pattern}"
    assert len(list((story.directory / "ceremony" / "sheets").glob("share-*.pdf"))) == 5
    assert not list(story.directory.rglob("*words*"))


def test_nothing_secret_can_be_read_by_others(story: Story) -> None:
    """A key or a password with an open mode is a key for every account of the machine."""
    private = [
        *(story.directory / "online" / "secrets").iterdir(),
        *(story.directory / "ceremony" / "sheets").glob("share-*.pdf"),
        *(path for path in (story.directory / "online" / "db").rglob("*") if path.is_file()),
        story.directory / "client" / "foo.key",
    ]
    for path in private:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE((story.directory / "ceremony" / "tokens").stat().st_mode) & 0o077 == 0


def test_nothing_is_left_running_or_lying_about(story: Story) -> None:
    """A node that nobody knows of keeps its key in memory and its port taken."""
    assert _processes_of(story.directory) == []
    assert _is_free(story.port)
    assert list(story.temporary.iterdir()) == []


def test_openssl_accepts_the_chain(story: Story) -> None:
    """An implementation that is not ours must agree, or only our own clients would."""
    certificates = story.directory / "online" / "certs"
    root, intermediate, leaf = (
        certificates / "root_ca.crt", certificates / "intermediate_ca.crt", story.directory / "client" / "foo.crt",
    )  # fmt: skip
    verify = ("openssl", "verify", "-x509_strict", "-check_ss_sig", "-CAfile", root)
    for purpose in ("sslserver", "sslclient"):
        done = story.run(
            *verify, "-purpose", purpose, "-verify_hostname", "foo.local", "-untrusted", intermediate, leaf
        )
        assert done.returncode == 0, done.stderr
    assert story.run(*verify, root).returncode == 0
    assert story.run(*verify, leaf).returncode != 0, "the leaf must not hang on the root alone"


def test_the_certificates_are_of_the_promised_kind(story: Story) -> None:
    """The root's key, life and path length are decisions of years; a drift must not go unnoticed."""
    (root,) = _certificates(story.directory / "ceremony" / "root.crt")
    (intermediate,) = _certificates(story.directory / "ceremony" / "intermediate.crt")
    leaf, *above = _certificates(story.directory / "client" / "foo.crt")
    assert above == [intermediate]
    assert root.issuer == root.subject
    key = root.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp384r1"
    assert root.not_valid_after_utc.year - root.not_valid_before_utc.year == 10
    for certificate, length in ((root, 1), (intermediate, 0)):
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, length)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
    names = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert isinstance(names, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["foo.local"]
    assert timedelta(hours=24) <= leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(hours=24, minutes=5)


def test_the_same_certificates_lie_on_both_sides(story: Story) -> None:
    """The node must trust what the ceremony made, byte for byte, and nothing else."""
    ceremony, node = story.directory / "ceremony", story.directory / "online" / "certs"
    assert _certificates(ceremony / "root.crt") == _certificates(node / "root_ca.crt")
    assert _certificates(ceremony / "intermediate.crt") == _certificates(node / "intermediate_ca.crt")


@pytest.mark.parametrize(("stem", "purpose"), [("request", "REQUEST"), ("reply", "REPLY")])
def test_the_images_carry_the_very_bytes_of_the_file(story: Story, stem: str, purpose: str) -> None:
    """Whoever carries the file and whoever photographs the codes must get one and the same result."""
    crossing = story.directory / "crossing"
    kind = bundle.Purpose[f"INTERMEDIATE_{purpose}"]
    frames = sorted(crossing.glob(f"{stem}-*.png"), reverse=True)
    by_file, file_bytes = transfer.read_bundle([crossing / f"{stem}.bundle"], purpose=kind)
    by_image, image_bytes = transfer.read_bundle(frames, purpose=kind)
    assert (by_file, file_bytes) == (by_image, image_bytes)
    assert file_bytes == (crossing / f"{stem}.bundle").read_bytes()


def test_the_ceremony_can_be_verified_by_somebody_else(story: Story) -> None:
    """The transcript is only worth something if a stranger can check it, and if a changed byte is seen."""
    done = story.run("ceremony", "verify", story.directory / "ceremony")
    assert done.returncode == 0, done.stderr
    done = story.run("ceremony", "verify", "--json", story.directory / "ceremony")
    assert json.loads(done.stdout)
    copy = story.temporary / "copy"
    try:
        subprocess.run(["cp", "-a", story.directory / "ceremony", copy], check=True)
        transcript = copy / "transcript.jsonl"
        content = bytearray(transcript.read_bytes())
        content[len(content) // 2] ^= 1
        transcript.write_bytes(content)
        done = story.run("ceremony", "verify", copy)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
    finally:
        subprocess.run(["rm", "-rf", copy], check=True)


def test_no_secret_is_told_or_recorded(story: Story) -> None:
    """What stands in an output or a transcript is copied into tickets and chats."""
    secrets = story.directory / "online" / "secrets"
    told = {
        "the output": story.output,
        "the transcript": (story.directory / "ceremony" / "transcript.jsonl").read_text(),
        "the request": (story.directory / "crossing" / "request.bundle").read_text(),
        "the reply": (story.directory / "crossing" / "reply.bundle").read_text(),
        "ca.json": (story.directory / "online" / "config" / "ca.json").read_text(),
    }
    slip39 = set(WORDLIST)
    for name, text in told.items():
        for file in secrets.glob("*_password.txt"):
            assert file.read_text().strip() not in text, f"{file.name} is in {name}"
        assert "PRIVATE KEY" not in text, f"a private key is in {name}"
        assert not re.search(r"eyJ[\w-]+\.[\w-]+\.[\w-]{20,}(?![\w.-])", text), f"a token is in {name}"
        run = 0
        for word in re.findall(r"[a-z]+", text.lower()):
            run = run + 1 if word in slip39 else 0
            assert run < 8, f"words of a share are in {name}"
    key = (secrets / "intermediate_ca_key").read_text()
    assert "BEGIN ENCRYPTED PRIVATE KEY" in key


def test_no_raw_token_is_in_the_database(story: Story) -> None:
    """Whoever reads a backup must not find anything that could be presented again."""
    for path in (story.directory / "online" / "db").rglob("*"):
        if path.is_file():
            assert not re.search(rb"eyJ[\w-]{10,}\.[\w-]+\.", path.read_bytes()), path


def test_the_revoked_certificate_was_refused_with_401(story: Story) -> None:
    """Revocation that does not stop renewal is none."""
    end = story.output[story.output.index("Revoked with its own key") :]
    assert "401" in end[: end.index("refused, as it must be")]


def test_the_summary_names_the_root(story: Story) -> None:
    """The fingerprint is what a client pins; it must be the one of the root that lies there."""
    (root,) = _certificates(story.directory / "ceremony" / "root.crt")
    fingerprint = root.fingerprint(hashes.SHA256()).hex()
    summary = story.output[story.output.index("Done in") :]
    assert fingerprint in summary
    assert "To try next" in summary


def test_a_second_run_refuses_to_overwrite(story: Story) -> None:
    """A hierarchy that was overwritten by mistake cannot be had back."""
    before = _digest_of_tree(story.directory)
    done = subprocess.run(
        [DEMO, "--dir", story.directory], capture_output=True, text=True, check=False, env=_environment(story.temporary)
    )
    assert done.returncode == 1
    assert "already holds a hierarchy" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert _digest_of_tree(story.directory) == before


def test_somebody_elses_directory_is_left_alone(tmp_path: Path) -> None:
    """A mistyped --dir must not fill a home directory with a CA."""
    (tmp_path / "letter.txt").write_text("dear")
    done = subprocess.run(
        [DEMO, "--dir", tmp_path], capture_output=True, text=True, check=False, env=_environment(tmp_path)
    )
    assert done.returncode == 1
    assert "not an empty directory" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("arguments", [["--frob"], ["--port", "0"], ["--port", "70000"], ["--port", "x"], ["--dir"]])
def test_wrong_usage_is_said_at_once(arguments: list[str], tmp_path: Path) -> None:
    """A typo that is noticed after a minute of work is an insult."""
    done = subprocess.run(
        [DEMO, *arguments], capture_output=True, text=True, check=False, env=_environment(tmp_path), cwd=tmp_path
    )
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_serve_keeps_the_node_up_and_a_taken_port_is_said_at_once(tmp_path: Path) -> None:
    """--serve is what people try the node with; and a port in use is the commonest reason to fail at all."""
    port = free_port()
    serving, failing = tmp_path / "serving", tmp_path / "failing"
    with _running(serving, tmp_path / "tmp", "--port", str(port), "--serve") as process:
        said = _read_until(process, "step ca certificate")
        home = serving / "online"
        assert f"COLDROOT_HOME={home}" in said
        environment = _environment(tmp_path, COLDROOT_HOME=str(home))
        health: list[Path | str] = [BIN / "online", "health"]
        deadline = time.monotonic() + 30
        while (up := subprocess.run(health, env=environment, capture_output=True, text=True, check=False)).returncode:
            assert process.poll() is None, "the node ended by itself"
            assert time.monotonic() < deadline, up.stderr
            time.sleep(0.1)
        # The printed commands work as printed.
        crt, key = tmp_path / "bar.crt", tmp_path / "bar.key"
        done = subprocess.run(
            [BIN / "online", "certificate", "bar.local", crt, key],
            env=environment, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert len(_certificates(crt)) == 2

        (tmp_path / "tmp2").mkdir()
        done = subprocess.run(
            [DEMO, "--dir", failing, "--port", str(port)],
            capture_output=True, text=True, check=False, env=_environment(tmp_path / "tmp2"), timeout=60,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stdout == ""
        assert re.fullmatch(rf"demo: port {port} of 127\.0\.0\.1 is in use.*\n", done.stderr)
        assert not failing.exists()
        assert list((tmp_path / "tmp2").iterdir()) == []

        process.terminate()
        assert process.wait(timeout=60) == 0
    assert _is_free(port)
    assert _processes_of(serving) == []


def test_a_step_that_fails_names_itself(tmp_path: Path) -> None:
    """Who meets a failure must know in which step, and what is left of it."""
    directory, temporary, commands = tmp_path / "demo", tmp_path / "tmp", tmp_path / "venv" / "bin"
    temporary.mkdir()
    commands.mkdir(parents=True)
    (commands / "ceremony").symlink_to(BIN / "ceremony")
    (commands / "online").write_text(f'#!/bin/sh\n[ "$1" != serve ] || exit 9\nexec {BIN}/online "$@"\n')
    (commands / "online").chmod(0o755)
    done = subprocess.run(
        [DEMO, "--dir", directory], capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS,
        env=_environment(temporary, COLDROOT_VENV=str(commands.parent)),
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"step \d+ failed: The node serves", done.stderr)
    assert f"What was made until then lies in {directory}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert _processes_of(directory) == []
    assert list(temporary.iterdir()) == []


def test_a_signal_ends_the_demo_at_any_moment() -> None:
    """bash 5.2 read a trap as the rest of a command that it was just expanding, and ended with a syntax error (2)."""
    exit_on = next(line for line in DEMO.read_text().splitlines() if line.startswith("exit_on() "))
    # The longer the command in $(…), the likelier the signal arrives while bash reads it.
    expanding = f'f() {{ x="$(exit; {": ; " * 2000})"; }}; while :; do f; done'
    for attempt in range(50):
        with subprocess.Popen(
            ["bash", "-c", f"set -eu; {exit_on}; exit_on TERM 143; echo; {expanding}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            time.sleep(attempt / 5000)
            process.terminate()
            process.stdout.read()
            assert process.wait(timeout=60) == 143, process.stderr.read()


def test_an_interrupted_demo_stops_what_it_started(tmp_path: Path) -> None:
    """Whoever stops the demo in the middle must not have to look for processes and temporary secrets."""
    port = free_port()
    with _running(tmp_path / "demo", tmp_path / "tmp", "--port", str(port)) as process:
        _read_until(process, "(process ")
        process.terminate()
        assert process.wait(timeout=60) == 143
    assert _processes_of(tmp_path / "demo") == []
    assert _is_free(port)
    assert list((tmp_path / "tmp").iterdir()) == []
