"""The repository itself: documents, imports, dependencies, examples, benchmarks."""
