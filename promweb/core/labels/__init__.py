"""Label values and exemplars: inspected once, resolved for each recording."""
