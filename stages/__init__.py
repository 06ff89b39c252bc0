"""What happens to rows: one verb a file. No stage imports pipelines or jobs."""
