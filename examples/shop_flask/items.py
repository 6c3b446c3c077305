"""The pages about items: a list, one item, and a streamed export."""

from flask import Blueprint, abort, request


def make_items(metrics, stock):
    """Make the blueprint."""
    items = Blueprint("items", __name__)

    @items.route("/items")
    def listing():
        return {"items": list(stock.prices)}

    @items.route("/items/<item>")
    @metrics.counter(
        "shop_item_views",
        "Views of items",
        labels={
            # Without an argument: reads the request. With one: gets the response.
            "client": lambda: "app" if "X-App" in request.headers else "browser",
            "status": lambda response: response.status_code,
        },
    )
    def one(item):
        if item not in stock.prices:
            abort(404)
        return {"item": item, "price": stock.prices[item]}

    @items.route("/items.csv")
    def export():
        return rows(), {"Content-Type": "text/csv"}

    # A generator is measured until its last row.
    @metrics.histogram("shop_export_seconds", "Time to export all items", buckets=(0.01, 0.1, 1))
    def rows():
        yield "item,price\n"
        for item, price in stock.prices.items():
            yield f"{item},{price}\n"

    return items
