"""Is it any good: metrics, the baselines that every number stands beside, the report."""
