"""The room that API and workers share: tables, queries, the completion barrier, dispatch, messages,
storage.

It knows neither the web framework nor the image library nor the HTTP client (import-linter holds
that), and only what both sides import belongs here.
"""
