"""The parts of ``manta schedule``: when a tick is due, what it runs, what it tells, and the same for Kubernetes."""
