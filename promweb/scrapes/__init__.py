"""Reading an exposition: the one reader that all tools share."""
