"""The ingress process: FastAPI behind the guard, with the handles of all other processes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.serving.answering import Answering
from jobs.serving.guard import App, Gate, Guard
from jobs.serving.keys import Key
from jobs.serving.models import Served
from jobs.serving.protocols import inference_v2, openai
from jobs.serving.routes import Site, add_errors, add_routes, api
from jobs.serving.settings import Endpoint


@dataclass(frozen=True, kw_only=True)
class IngressConfig:
    """What an ingress process is told; it holds hashes of keys, never keys."""

    endpoint: Endpoint
    keys: Sequence[Key]
    served: Sequence[Served]
    identity: str
    """A hash of all that is served."""


class Ingress:
    """Wrapped by ``serve.ingress``."""

    def __init__(self, config: IngressConfig, models: Mapping[str, Any], documents: Any) -> None:  # noqa: ANN401
        """``models``: the handle of each model's processes by its name; ``documents``: of those that read."""
        self._config = config
        self._answering = Answering(models, documents)
        self._gate = Gate(config.endpoint)

    async def reconfigure(self, told: Mapping[str, bool]) -> None:
        """``{"draining": True}``: takes nothing more, and returns when all that is under way has been answered."""
        if told.get("draining"):
            await self._gate.drain()
        self._gate.draining = bool(told.get("draining"))

    async def identity(self) -> str:
        """The config's: tells whether what runs is what a command started."""
        return self._config.identity

    def __serve_build_asgi_app__(self) -> App:
        config, app = self._config, api()
        site = Site(
            endpoint=config.endpoint,
            served={one.name: one for one in config.served},
            answering=self._answering,
            gate=self._gate,
            since=int(time.time()),
        )
        openai.add_routes(app, site)  # before ours: /v1/FAMILY/TASK takes any two words
        inference_v2.add_routes(app, site)
        add_routes(app, site)
        add_errors(app)
        return Guard(app, config.endpoint, config.keys, self._gate)
