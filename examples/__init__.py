"""Services that show how promweb is used; the test suite runs each of them."""
