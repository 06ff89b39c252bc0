"""seccomp: a filter that refuses the system calls by which a taken-over reader could get out (linux/seccomp.h).

A list of what is refused, with everything newer than the list refused too: programs such as pdftoppm and tesseract, of
whatever version, must go on working inside. Numbers: linux/arch/x86/entry/syscalls/syscall_64.tbl and
linux/include/uapi/asm-generic/unistd.h (aarch64).
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

from stages.cage.kernel import prctl

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data; the argument's lower half, little endian."""

_NEWEST = 470
"""System calls from here on are newer than this list (Linux 6.17 ends at 469)."""
_NEW_NAMESPACES = 0x7E020000
"""Flags of clone: user, pid, network, ipc, uts, cgroup and mount namespaces."""

#: name → (x86_64, aarch64); -1 where an architecture does not have it.
_REFUSED = {
    # the network, and sockets to daemons on this machine; socketpair stays
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "process_madvise": (440, 440),
    # leaving the process group, by which the parent kills it
    "setsid": (112, 157), "setpgid": (109, 154),
    # other views of the system
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "setns": (308, 268),
    "unshare": (272, 97), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "fanotify_init": (300, 262),
    "mknod": (133, -1), "mknodat": (259, 33),
    # keys
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # memory that no limit counts, or that outlives the process
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    # wide doors into the kernel
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "modify_ldt": (154, -1), "personality": (135, 92),
    "iopl": (172, -1), "ioperm": (173, -1), "lookup_dcookie": (212, 18), "syslog": (103, 116),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "vhangup": (153, 58), "uselib": (134, -1),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "sethostname": (170, 161), "setdomainname": (171, 162),
}  # fmt: skip

#: machine → (column above, AUDIT_ARCH of linux/audit.h, clone, clone3)
_MACHINES = {"x86_64": (0, 0xC000003E, 56, 435), "aarch64": (1, 0xC00000B7, 220, 435)}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def restrict() -> bool:
    """Installs the filter for this process and all that it starts; False where kernel or architecture has none."""
    if platform.machine() not in _MACHINES:
        return False
    code = ctypes.create_string_buffer(_code(platform.machine()))
    program = _Program((len(code) - 1) // 8, ctypes.addressof(code))
    return prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.cast(ctypes.pointer(program), ctypes.c_void_p))


def _code(machine: str) -> bytes:
    """The filter as BPF: struct sock_filter {u16 code; u8 if_true, if_false; u32 k} each."""
    column, architecture, clone, clone3 = _MACHINES[machine]

    def step(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("<HBBI", code, if_true, if_false, k)

    def refuse(error: int) -> bytes:
        return step(_RETURN, _ERRNO | error)

    steps = [
        step(_LOAD, _ARCHITECTURE),
        step(_IF_EQUAL, architecture, 1, 0),
        refuse(errno.EPERM),
        step(_LOAD, _NUMBER),
        step(_IF_AT_LEAST, _NEWEST, 0, 1),  # also the x32 calls, whose numbers have bit 30
        refuse(errno.ENOSYS),
        step(_IF_EQUAL, clone3, 0, 1),
        refuse(errno.ENOSYS),  # its flags lie behind a pointer; libc then takes clone
    ]
    for numbers in _REFUSED.values():
        if numbers[column] >= 0:
            steps += [step(_IF_EQUAL, numbers[column], 0, 1), refuse(errno.EPERM)]
    steps += [
        step(_IF_EQUAL, clone, 0, 3),
        step(_LOAD, _FIRST_ARGUMENT),
        step(_IF_ANY_BIT, _NEW_NAMESPACES, 0, 1),
        refuse(errno.EPERM),
        step(_RETURN, _ALLOW),
    ]
    return b"".join(steps)
