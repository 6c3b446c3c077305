"""The live page, loaded when it is registered."""
