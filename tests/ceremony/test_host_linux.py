"""The facts as Linux writes them: on a machine of files that the test made."""

from __future__ import annotations

from pathlib import Path

import pytest

from ceremony.host import LinuxProbes, Radio, UsbDevice


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Return a directory with an empty sys and proc."""
    for name in ("sys/class", "sys/bus", "sys/power", "proc/self", "proc/sys/fs", "proc/sys/kernel/yama"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def probes(machine: Path) -> LinuxProbes:
    return LinuxProbes(sys=machine / "sys", proc=machine / "proc")


def put(machine: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = machine / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def test_radios_and_their_switches(machine: Path) -> None:
    """A Bluetooth adapter without a switch is a radio that nobody can block."""
    assert probes(machine).radios() == ()
    put(
        machine,
        {
            "sys/class/rfkill/rfkill0/name": "phy0",
            "sys/class/rfkill/rfkill0/soft": "1",
            "sys/class/rfkill/rfkill0/hard": "0",
            "sys/class/rfkill/rfkill1/name": "wwan",
            "sys/class/rfkill/rfkill1/soft": "0",
            "sys/class/rfkill/rfkill1/hard": "0",
            "sys/class/ieee80211/phy0/index": "0",
            "sys/class/bluetooth/hci0/type": "primary",
            "sys/class/bluetooth/hci0:12/type": "a connection, not a device",
        },
    )
    assert probes(machine).radios() == (
        Radio(name="hci0", blocked=False),
        Radio(name="phy0", blocked=True),
        Radio(name="wwan", blocked=False),
    )


def test_no_sysfs_is_no_good_news(tmp_path: Path) -> None:
    """Without sysfs there is nothing to see, which is not the same as nothing there."""
    for question in (
        probes(tmp_path).radios, probes(tmp_path).usb_devices, probes(tmp_path).hibernates_to,
        probes(tmp_path).hardware_clock, probes(tmp_path).mounts,
    ):  # fmt: skip
        with pytest.raises(OSError, match="No such file"):
            question()


def test_usb_devices(machine: Path) -> None:
    """A modem in a stick's clothes announces its class; hubs are not worth a line."""
    assert probes(machine).usb_devices() == ()
    base = "sys/bus/usb/devices"
    for name, device_class, interface, product in (
        ("usb1", "09", "09", "root hub"),
        ("1-1", "09", "09", "hub"),
        ("1-2", "00", "0b", "Card reader"),
        ("1-3", "00", "02", "Stick\x1b[2J"),
        ("1-4", "e0", "e0", "Bluetooth"),
    ):
        put(
            machine,
            {
                f"{base}/{name}/bDeviceClass": device_class,
                f"{base}/{name}/idVendor": "1234",
                f"{base}/{name}/idProduct": "5678",
                f"{base}/{name}/product": product,
                f"{base}/{name}/{name}:1.0/bInterfaceClass": interface,
            },
        )
    assert probes(machine).usb_devices() == (
        UsbDevice(name="Card reader (1234:5678)", talks=False),
        UsbDevice(name="Stick\\x1b[2J (1234:5678)", talks=True),
        UsbDevice(name="Bluetooth (1234:5678)", talks=True),
    )


def test_hibernation(machine: Path) -> None:
    """The image of memory holds the shares; the kernel writes it to the device named here."""
    put(machine, {"sys/power/state": "freeze mem"})
    assert probes(machine).hibernates_to() == ""
    put(machine, {"sys/power/state": "freeze mem disk", "sys/power/resume": "0:0"})
    assert probes(machine).hibernates_to() == ""
    put(machine, {"sys/power/resume": "8:2"})
    assert probes(machine).hibernates_to() == "8:2"


def test_mounts(machine: Path) -> None:
    """A stick may be written to, the built-in disk may not, and a share of another machine is neither."""
    put(
        machine,
        {
            "proc/self/mounts": "tmpfs / tmpfs rw 0 0\n/dev/sda2 /home ext4 rw,noatime 0 0\n"
            "/dev/sdb1 /media vfat rw 0 0\n"
            "/dev/sdc1 /usb-disk ext4 rw 0 0\n/dev/loop0 /live squashfs ro 0 0\nserver:/x /mnt nfs4 rw 0 0",
            "sys/devices/pci/sda/removable": "0",
            "sys/devices/pci/sda/sda2/partition": "2",
            "sys/devices/pci/sdb/removable": "1",
            "sys/devices/pci/sdb/sdb1/partition": "1",
            "sys/devices/pci/usb2/sdc/removable": "0",
            "sys/devices/pci/usb2/sdc/sdc1/partition": "1",
        },
    )
    block = machine / "sys/class/block"
    block.mkdir()
    for name, place in (("sda2", "sda"), ("sdb1", "sdb"), ("sdc1", "usb2/sdc")):
        (block / name).symlink_to(machine / "sys/devices/pci" / place / name)
    found = {each.path: (each.writable, each.removable) for each in probes(machine).mounts()}
    assert found == {
        "/home": (True, False),
        "/media": (True, True),
        "/usb-disk": (True, True),
        "/live": (False, False),
        "/mnt": (True, False),
    }


def test_numbers_and_clock(machine: Path) -> None:
    """These are one number a file; reading the wrong file would be unknown on every machine."""
    put(
        machine,
        {
            "proc/sys/fs/suid_dumpable": "2",
            "proc/sys/kernel/yama/ptrace_scope": "1",
            "sys/class/rtc/rtc0/since_epoch": "1795507200",
        },
    )
    assert probes(machine).suid_dumpable() == 2
    assert probes(machine).ptrace_scope() == 1
    assert probes(machine).hardware_clock().isoformat() == "2026-11-24T08:00:00+00:00"
