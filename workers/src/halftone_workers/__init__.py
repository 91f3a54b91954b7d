"""halftone's workers: fetch a product's images, compress them, store them, settle the product, send
webhooks.
"""
