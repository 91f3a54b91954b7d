"""The OpenAPI document and its page.

Both are made from the declarations that also validate requests and answers.
"""
