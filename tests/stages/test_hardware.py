"""Device and number format are asked of the hardware."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from stages import hardware
from stages.errors import UsageError
from stages.hardware import check_products, cpu_flags, native_bfloat16, pick_device, pick_dtype, use_threads

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("flags", "native"),
    [
        ({"avx2", "avx512f"}, False),
        ({"avx512f", "avx512_bf16"}, True),
        ({"amx_bf16", "amx_tile"}, True),
        ({"asimd", "bf16"}, True),
        (set(), False),
    ],
)
def test_bfloat16_only_where_the_processor_computes_in_it(monkeypatch, flags, native):
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset(flags))
    assert native_bfloat16(CPU) is native
    assert pick_dtype("auto", CPU) == (torch.bfloat16 if native else torch.float32)


@pytest.mark.parametrize(("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bfloat16_only_where_the_gpu_computes_in_it(monkeypatch, capability, native):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert native_bfloat16(GPU) is native


def test_a_number_format_that_is_asked_for_is_taken():
    assert pick_dtype("float32", GPU) == torch.float32
    assert pick_dtype("float16", CPU) == torch.float16


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    with pytest.raises(UsageError, match="this process sees no GPU"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto").type == "cuda"
    assert pick_device("cpu") == CPU


def test_flags_are_those_of_this_machine():
    from pathlib import Path

    if Path("/proc/cpuinfo").exists():
        assert cpu_flags()
        assert cpu_flags() <= set(Path("/proc/cpuinfo").read_text().split())
    else:
        assert cpu_flags() == frozenset()


def test_float32_is_exact_after_opening():
    hardware.exact_float32()
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.get_float32_matmul_precision() == "highest"


LIMITED = """
import torch
from stages.hardware import use_threads, check_products
print(torch.get_num_threads(), use_threads(0), use_threads(2), use_threads(1), torch.get_num_threads())
check_products(torch.device("cpu"), torch.bfloat16)
"""


@pytest.mark.parametrize(("limit", "counts"), [("1", "2 1 1 1 1"), ("3", "2 2 2 1 1")])
def test_no_more_threads_than_openmp_gives(limit, counts):
    """With OMP_THREAD_LIMIT below torch's threads, bfloat16 products are wrong; a new process, as it is read once."""
    environment = {**os.environ, "OMP_THREAD_LIMIT": limit, "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", LIMITED], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == counts


def test_products_that_are_wrong_stop_the_run(monkeypatch):
    use_threads(0)
    check_products(CPU, torch.float32)
    check_products(CPU, torch.bfloat16)
    real = torch.nn.Linear.forward

    def half(layer, x):
        out = real(layer, x)
        out[:, ::2] = 0
        return out

    monkeypatch.setattr(torch.nn.Linear, "forward", half)
    with pytest.raises(UsageError, match=r"bfloat16 products on cpu are 7\d% off: say --set predict\.dtype=float32"):
        check_products(CPU, torch.bfloat16)
