"""A machine with a systemd of its own: this one's files beneath an overlay, in namespaces, with loopback only.

systemd-nspawn boots it; what the story writes goes to a file system in memory that ends with the machine. The
product is installed as an operator would have it, at ``/opt/coldroot``, where a service user may read it: Debian's own
Python runs this checkout with the packages of the environment that runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path("/usr/bin/python3")
BOOT_SECONDS = 300

_ONLINE = """#!/opt/coldroot/bin/python3
from online.__main__ import main

main()
"""

_STORY_SERVICE = """[Unit]
Description=What happens on this machine
After=basic.target
Requires=basic.target

[Service]
Type=oneshot
ExecStart=/bin/bash /story/story.sh
ExecStopPost=/bin/systemctl --no-block --force poweroff
StandardOutput=file:/story/out
StandardError=file:/story/out
TimeoutStartSec=240
"""

# What it mounts over everything belongs to a mount namespace that ends with it.
_BOOT = """
set -eu
mount -t tmpfs machine "$1/memory"
mkdir "$1/memory/work"
cp -a "$1/upper" "$1/memory/upper"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/memory/upper,workdir=$1/memory/work" "$1/root"
exec systemd-nspawn --quiet --directory="$1/root" --register=no --keep-unit --boot --private-network \\
    --bind-ro="$2:/opt/coldroot/src" --bind-ro="$3:/opt/coldroot/packages" --bind="$1/story:/story" \\
    systemd.unit=story.service
"""


def why_not() -> str | None:
    """Say why no such machine can be started here, or return ``None``."""
    if os.geteuid() != 0:
        return "a systemd of one's own needs root"
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is not installed (Debian: systemd-container)"
    if not PYTHON.exists():
        return f"{PYTHON} is not there"
    version = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]!r})"
    if subprocess.run([PYTHON, "-c", version], check=False).returncode != 0:
        return f"{PYTHON} is another Python than the one that runs the tests"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "the kernel has no overlay file system"
    return None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine that is switched off. Put files into it, then run a story."""

    directory: Path

    @classmethod
    def make(cls, directory: Path) -> Machine:
        """Install the product on a new machine.

        Args:
            directory: must not exist.
        """
        for name in ("upper", "memory", "root", "story"):
            (directory / name).mkdir(parents=True)
        machine = cls(directory=directory)
        place = machine.path("/opt/coldroot")
        subprocess.run([PYTHON, "-m", "venv", "--without-pip", place], check=True)
        packages = place / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
        (packages / "coldroot.pth").write_text("/opt/coldroot/packages\n/opt/coldroot/src\n")
        for name in ("packages", "src"):
            (place / name).mkdir()
        machine.put("/opt/coldroot/bin/online", _ONLINE, mode=0o755)
        machine.put("/etc/systemd/system/story.service", _STORY_SERVICE)
        # The temporary directory is part of the overlay; a file system of its own would hide what is bound there.
        machine.path("/etc/systemd/system/tmp.mount").symlink_to("/dev/null")
        return machine

    def path(self, path: str) -> Path:
        """Return where a file of the machine lies, for one that this machine does not have."""
        return self.directory / "upper" / path.removeprefix("/")

    def put(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file of the machine."""
        where = self.path(path)
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text)
        where.chmod(mode)

    def run(self, story: str) -> str:
        """Boot, run a story (bash) as root, switch off; return what the story wrote."""
        (self.directory / "story" / "story.sh").write_text(story)
        out = self.directory / "story" / "out"
        where = [self.directory, ROOT, Path(sysconfig.get_paths()["purelib"])]
        booted = subprocess.run(
            ["unshare", "--mount", "--propagation=private", "bash", "-c", _BOOT, "boot", *where],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=BOOT_SECONDS,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_NSPAWN_TMPFS_TMP": "0", "LC_ALL": "C.UTF-8"},
        )
        assert out.exists(), f"the machine did not boot:\n{booted.stdout[-3000:]}\n{booted.stderr[-3000:]}"
        return out.read_text()
