"""PostgreSQL: the engine, the tables, and one module of queries for each table or rule.

Functions take a connection and run one statement each, unless their docstring says otherwise.
"""
