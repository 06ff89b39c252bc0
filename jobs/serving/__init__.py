"""Families as endpoints on Ray Serve: what runs in the replicas, and how a config file becomes an application.

    HTTP → ingress (guard → routes) ─ file ─→ documents (plan, read in the sandbox) ─ pages ─┐
                    │                                                                       ↓
                    └────────────── rows ──────────────────────────────→ models (encode → batch → Predictor)

`jobs.serve` starts it, `deployed.py` is what a Serve config file names. The rows are those of batch, because the same
code makes them: the stages Plan, Read and Look, and both halves of Predictor.
"""
