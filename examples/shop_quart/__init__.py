"""A small shop, written twice: `diff -rx __pycache__ examples/shop_flask examples/shop_quart`."""

from .app import create_app

__all__ = ["create_app"]
