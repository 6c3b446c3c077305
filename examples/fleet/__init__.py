"""Several instances of the shop, on Flask and on Quart, scraped by a real Prometheus."""
