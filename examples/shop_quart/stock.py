"""The stock of the shop. Nothing here knows about the web."""


class OutOfStock(Exception):
    """There is less of an item than somebody wants."""


class Stock:
    """Items with their prices and amounts; an unknown item raises `KeyError`."""

    def __init__(self):
        self.prices = {"book": 12, "lamp": 40, "pen": 2}
        self.amounts = dict.fromkeys(self.prices, 10)

    def take(self, item, amount):
        """Take items out."""
        if amount > self.amounts[item]:
            raise OutOfStock
        self.amounts[item] -= amount

    def refill(self):
        """Fill up every item, and return how many items needed it."""
        needed = [item for item, amount in self.amounts.items() if amount < 10]
        self.amounts.update(dict.fromkeys(needed, 10))
        return len(needed)
