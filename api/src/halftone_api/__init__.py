"""halftone's HTTP API: takes a CSV, answers with a request ID, tells how it goes, hands the result
back.
"""
