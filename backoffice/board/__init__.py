"""The launch board: a page that shows a drop as it happens, with figures that it asks for every second."""
