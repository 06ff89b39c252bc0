"""The commands of ``manta``, grouped by what a person wants; ``jobs.cli`` puts them together."""
