"""The cage's parts by themselves: the filter's decisions, and what is left where the kernel lacks something."""

import errno
import struct
import subprocess
import sys

import pytest

from stages.cage import landlock, seccomp

ALLOW = 0x7FFF0000
EPERM, ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS


def decide(code, *, number, architecture, argument=0):
    """Runs the filter as the kernel would."""
    data = {0: number, 4: architecture, 16: argument}
    steps = [*struct.iter_unpack("<HBBI", code)]
    at = loaded = 0
    while True:
        operation, if_true, if_false, k = steps[at]
        at += 1
        match operation:
            case 0x20:
                loaded = data[k]
            case 0x15:
                at += if_true if loaded == k else if_false
            case 0x35:
                at += if_true if loaded >= k else if_false
            case 0x45:
                at += if_true if loaded & k else if_false
            case 0x06:
                return k


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_decides_as_listed(machine):
    column, architecture, clone, clone3 = seccomp._MACHINES[machine]
    code = seccomp._code(machine)
    refused = {numbers[column] for numbers in seccomp._REFUSED.values()} - {-1}
    for number in range(600):
        decision = decide(code, number=number, architecture=architecture)
        wanted = EPERM if number in refused else ENOSYS if number == clone3 or number >= 470 else ALLOW
        assert decision == wanted, number
    assert decide(code, number=clone, architecture=architecture, argument=0x11) == ALLOW  # fork
    for namespace in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert decide(code, number=clone, architecture=architecture, argument=namespace | 0x11) == EPERM
    assert decide(code, number=0, architecture=0x40000003) == EPERM  # 32-bit calls
    assert decide(code, number=0x40000000, architecture=architecture) == ENOSYS  # x32 calls
    assert len(code) // 8 < 4096  # BPF_MAXINSNS


def test_no_number_stands_twice():
    for column in (0, 1):
        numbers = [pair[column] for pair in seccomp._REFUSED.values() if pair[column] >= 0]
        assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM])
def test_a_kernel_without_landlock_is_no_error(monkeypatch, error):
    def refuse(*_):
        raise OSError(error, "no")

    monkeypatch.setattr(landlock, "system_call", refuse)
    assert landlock.restrict([], "/nowhere") == 0


def test_without_any_help_of_the_kernel_the_level_says_so(tmp_path):
    code = (
        "import sys\n"
        "from stages import cage\n"
        "from stages.cage import kernel, landlock, seccomp\n"
        "kernel.leave_network = lambda: False\n"
        "landlock.restrict = lambda *_: 0\n"
        "seccomp.restrict = lambda: False\n"
        "print(cage.enter(readable=[], scratch=sys.argv[1], memory_bytes=1 << 30, file_bytes=1 << 20))\n"
        "import resource\n"
        "print(*(resource.getrlimit(getattr(resource, 'RLIMIT_' + n))[1] for n in ('CORE', 'FSIZE', 'DATA')))\n"
        "print(open('/proc/self/status').read())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    level, limits, *status = done.stdout.splitlines()
    assert level == "rlimits only"
    assert limits == f"0 {1 << 20} {(1 << 30) + (256 << 20)}"
    said = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    assert int(said["CapEff"], 16) == 0
    assert said["NoNewPrivs"] == "1"
