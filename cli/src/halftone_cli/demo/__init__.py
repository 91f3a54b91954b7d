"""The demo: a shop, its catalogue, a webhook receiver, and halftone between them."""
