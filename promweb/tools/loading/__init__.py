"""An application, imported to look at it: finding it, its settings, what it exposes."""
