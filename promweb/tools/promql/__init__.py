"""PromQL in dashboards and rules: which series it selects."""
