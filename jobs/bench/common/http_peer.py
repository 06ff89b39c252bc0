"""The peer of ``bench serve``: FastAPI with ``transformers.pipeline`` in one process, as tutorials have it.

``python -m jobs.bench.common.http_peer FOLDER PORT``. Helped where its users know how: all cores for each call,
one call at a time (calls beside each other take each other's cores, and tokenizers may not be shared by threads).
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import uvicorn
from fastapi import Body, FastAPI


def main(folder: str, port: str) -> None:
    """Serves until it is ended."""
    import torch

    from jobs.bench.common.machine import cores
    from jobs.bench.common.peers import open_pipeline

    torch.set_num_threads(cores())
    pipe = open_pipeline("text-classification", Path(folder), torch.device("cpu"), "float32")
    turn = threading.Lock()
    app = FastAPI()

    @app.post("/classify")
    def classify(text: str = Body(embed=True)) -> dict[str, object]:
        with turn:
            [found] = pipe([text], truncation=True)
        return dict(found)

    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")


if __name__ == "__main__":
    main(*sys.argv[1:])
