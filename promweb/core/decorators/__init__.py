"""What decorators measure, and wrappers that keep the kind of callable."""
