"""Metrics, baselines, and the table in which a core is compared with them."""
