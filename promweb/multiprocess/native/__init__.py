"""Native histograms of several workers: how files hold their buckets, how scrapes merge them."""
