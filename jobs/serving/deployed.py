"""What a Serve config file or a RayService names: ``import_path: jobs.serving.deployed:build``.

    applications:
      - name: manta
        route_prefix: /
        import_path: jobs.serving.deployed:build
        args: {config: /etc/manta/serve.yaml}

HTTP's address, port and time limit are that file's ``http_options``; ``serve.host`` and ``serve.port`` say here only
whether keys are needed. Keys are read where this runs, from its environment or a mounted file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.errors import UsageError


def build(args: Mapping[str, str]) -> Any:  # noqa: ANN401 - Serve's Application
    """The application of the config file ``args["config"]``. Raises UsageError for what cannot work."""
    from jobs.serving.application import application, resolve_models
    from jobs.serving.config import read_config
    from jobs.serving.keys import read_keys

    if set(args) != {"config"}:
        raise UsageError(f"args must be {{config: FILE}}, not {dict(args)!r}")
    config = read_config(args["config"])
    return application(resolve_models(config, read_keys(config.sections.serve)))
