"""The web page: templates, their static files, and the handlers that render them.

Pages get their data only from the functions of `endpoints`.
"""
