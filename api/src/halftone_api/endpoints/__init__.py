"""The routes, one module a subject: the handlers and what they answer.

A handler parses, calls one function and answers.
"""
