"""The demo: its storefront, the welcome page, and the data that they show."""
