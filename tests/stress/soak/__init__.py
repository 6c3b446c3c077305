"""`make soak`: both frameworks under load over real servers, and every request accounted for."""
