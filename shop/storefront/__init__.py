"""The demo storefront at `/demo/`: its page, and the texts of its scripts in `shop/static/storefront/`."""
