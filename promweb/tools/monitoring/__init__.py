"""Files for Grafana and Prometheus; made when a command asks for them, imported by nothing else."""
