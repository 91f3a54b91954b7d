"""The web page: templates, their static files, and the handlers that render them.

Pages get their data from the functions of `endpoints`; there is no second way to it.
"""
