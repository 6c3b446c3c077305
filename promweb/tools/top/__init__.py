"""What `promweb top` shows: numbers as texts, tables, the screen."""
