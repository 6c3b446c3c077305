"""The pages about orders: taking one, and an invoice that cannot be printed."""

from quart import Blueprint, request


def make_orders(metrics, stock):
    """Make the blueprint."""
    orders = Blueprint("orders", __name__, url_prefix="/orders")

    @orders.route("", methods=["POST"])
    @metrics.gauge("shop_orders_in_progress", "Orders that are being taken")
    @metrics.histogram(
        "shop_order_seconds",
        "Time to take an order",
        labels={
            "delivery": lambda: "express" if "express" in request.args else "standard",
            "status": lambda response: response.status_code,
        },
        buckets=(0.01, 0.1, 1),
    )
    async def take():
        order = await request.get_json()
        stock.take(order["item"], order["amount"])
        return {"price": price(order)}, 201

    # Not a view: a label callable of one argument gets the return value.
    @metrics.summary(
        "shop_pricing_seconds",
        "Time to compute the price of an order",
        labels={"size": lambda total: "large" if total >= 100 else "small"},
    )
    def price(order):
        return stock.prices[order["item"]] * order["amount"]

    @orders.route("/<int:number>/invoice")
    async def invoice(number):
        raise RuntimeError("the printer is on fire")

    return orders
