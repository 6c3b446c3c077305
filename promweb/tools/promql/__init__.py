"""PromQL as dashboards and rules have it: what it selects."""
