"""The parts of ``manta train``: rows are encoded once (``encode``), read map-style by every worker (``data``), and
learned by ``transformers.Trainer`` inside Ray Train (``worker``); ``settings`` are the knobs."""
