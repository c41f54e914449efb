"""Is it any good: metrics, the baselines that every number stands beside, and the table of scores."""
