"""`make screenshots`: the pictures in docs/images, of a shop that is started and filled for them."""
