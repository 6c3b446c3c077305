"""The display of `promweb top`: numbers as text, tables, the screen."""
