"""Several workers that share a directory."""
