"""The OpenAPI document and its page.

Both are made from the declarations that requests are checked and answered with.
"""
