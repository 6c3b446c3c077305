"""Files for Grafana and Prometheus; only the commands that print them import this."""
