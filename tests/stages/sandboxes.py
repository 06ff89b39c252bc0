"""A sandbox with small limits, and how tests ask its child (sandbox_targets.py) for trouble."""

from stages.errors import Code
from stages.sandbox import SandboxLimits

TARGET = "sandbox_targets:open_trouble"
LIMITS = SandboxLimits(memory_mb=200, scratch_mb=20, processes=8)


def ask(sandbox, do, *, path=None, timeout_s=5.0, total_s=None, timeout_code=Code.RENDER_TIMEOUT, **arguments):
    request = {"do": do, **arguments}
    return sandbox.call(request, path=path, timeout_s=timeout_s, total_s=total_s, timeout_code=timeout_code)
