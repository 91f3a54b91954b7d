"""The library that API and workers share: tables, queries, the completion barrier, dispatch,
messages, storage.

It imports neither the web framework nor the image library nor the HTTP client (import-linter checks
this). Only code that both sides import belongs here.
"""
