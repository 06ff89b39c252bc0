"""What the hardware can do, asked of it: device, number format, threads. Never guessed from a model's name.

bfloat16 is taken where it is computed natively: on a GPU of compute capability 8.0 or later, on a CPU with AVX512-BF16
or AMX-BF16 (x86) or BF16 (Arm). Elsewhere it is emulated, slower than float32 and less exact.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from stages.errors import UsageError
from stages.settings import Predict

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
R = TypeVar("R")
_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Flags of /proc/cpuinfo that mean native bfloat16; ``bf16`` is Arm's."""
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Numbers of ``mallopt``'s parameters, glibc's malloc.h."""
LARGEST_MMAP_THRESHOLD = 32 << 20
"""From so many bytes on glibc gives a freed block back at once; it takes no larger number for that."""


@cache
def cpu_flags() -> frozenset[str]:
    """The processor's features as the Linux kernel names them; empty on other systems."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return frozenset()
    heads = ("flags", "Features")
    lines = (line for line in info.read_text(encoding="ascii", errors="replace").splitlines() if line.startswith(heads))
    return frozenset(next(lines, ":").partition(":")[2].split())


def native_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 without emulating it."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(_CPU_FLAGS & cpu_flags())


def pick_device(setting: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device; ``auto`` takes a GPU where this process may use one. Raises UsageError where ``cuda`` sees none."""
    import torch

    there = torch.cuda.is_available()
    if setting == "cuda" and not there:
        raise UsageError("predict.device is cuda, but this process sees no GPU: use auto or cpu, or see manta doctor")
    return torch.device("cuda" if there and setting != "cpu" else "cpu")


def pick_dtype(setting: Literal["auto", "float32", "bfloat16", "float16"], device: torch.device) -> torch.dtype:
    """The number format of weights and activations; ``auto`` takes bfloat16 where it is native, else float32."""
    import torch

    if setting == "auto":
        return torch.bfloat16 if native_bfloat16(device) else torch.float32
    chosen: torch.dtype = getattr(torch, setting)
    return chosen


def exact_float32() -> None:
    """Makes float32 mean float32: no TF32 in matrix products and convolutions of this process."""
    import torch

    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.fp32_precision = "ieee"


def keep_memory(most: int = 512 << 20) -> None:
    """Lets glibc keep up to ``most`` freed bytes for this process's next layer instead of giving them back each time.

    On a virtual machine the kernel's part is dear: CLIP-base in float32, a process a core, took 2,000 to 7,000 page
    faults and 9 of 125 milliseconds an image for them; none since. Elsewhere than on glibc nothing is done.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        libc.mallopt(_TRIM_THRESHOLD, most)


def use_threads(wanted: int) -> int:
    """Lets torch use ``wanted`` threads (0: as many as it would), at most what OpenMP gives; returns how many.

    Where OMP_THREAD_LIMIT is below torch's number, oneDNN's bfloat16 products come out wrong without a word: part of
    the work is never done (seen with torch 2.13, oneDNN 3.12: a linear layer 70 % off).
    """
    import torch

    count = min(wanted or torch.get_num_threads(), _openmp_limit())
    torch.set_num_threads(count)  # also where it is so: MKL's number is the process's, and told by none
    return count


def in_lanes(call: Callable[[T], R], items: Sequence[T], count: int) -> Generator[R, None, None]:
    """``call`` of each item, in order, on ``count`` threads at once, each of which gives torch one thread.

    Whole batches beside each other leave no core waiting for the parts of a model that one thread does: BERT-base
    gains 7 to 18 % over two threads in each product (2 cores, batches of 2048 tokens). Where there are fewer than two
    items a lane, the last would hold up the others: then they run one by one, with all of torch's threads. Closing the
    generator leaves out what has not begun.
    """
    import torch

    if count < 2 or len(items) < 2 * count:
        yield from map(call, items)
        return
    own = torch.get_num_threads()
    torch.set_num_threads(1)  # MKL's number is the process's, OpenMP's the thread's: both are set
    pool = ThreadPoolExecutor(count, thread_name_prefix="lane", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(call, items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(own)


def _openmp_limit() -> int:
    """OpenMP's own limit as it was when its library was loaded, which the environment may no longer tell."""
    try:
        return int(ctypes.CDLL(None).omp_get_thread_limit())
    except (AttributeError, OSError, TypeError):  # no OpenMP in this build of torch, or not to be found
        return int(os.environ.get("OMP_THREAD_LIMIT") or 2**31 - 1)


def check_products(device: torch.device, dtype: torch.dtype) -> None:
    """A linear layer in ``dtype``, laid out as a model's are, against exact numbers.

    It takes milliseconds once, and keeps answers from being wrong without a word.
    Raises UsageError naming the error and the remedy.
    """
    import torch

    from stages.linear import lay_out

    some = torch.Generator().manual_seed(0)
    x, weight = torch.randn(64, 384, generator=some), torch.randn(1536, 384, generator=some)
    exact = x.double() @ weight.double().T
    layer = torch.nn.Linear(384, 1536, bias=False, device="meta")
    layer.weight = torch.nn.Parameter(weight.to(device, dtype))
    lay_out(layer)
    with torch.inference_mode():
        ours = layer(x.to(device, dtype)).cpu().double()
    error = float((ours - exact).norm() / exact.norm())
    if not error < 0.02:  # bfloat16 has 8 bits: 0.003; NaN is no less
        name = str(dtype).removeprefix("torch.")
        raise UsageError(f"{name} products on {device} are {error:.0%} off: say --set predict.dtype=float32")


def out_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out, on the device or in the process."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("can't allocate memory", "not enough memory", "ALLOC_FAILED", "out of memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def dtype_name(settings: Predict) -> str:
    """The number format that ``settings`` come to on this machine, for fingerprints. Needs no torch without a GPU."""
    if settings.dtype != "auto":
        return settings.dtype
    if settings.device == "cpu" or not Path("/dev/nvidiactl").exists():
        return "bfloat16" if _CPU_FLAGS & cpu_flags() else "float32"
    return str(pick_dtype("auto", pick_device(settings.device))).removeprefix("torch.")
