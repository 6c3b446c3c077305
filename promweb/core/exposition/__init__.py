"""Numbers as bytes: negotiation and text templates."""
