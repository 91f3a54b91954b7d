"""Values without I/O: states, options, results, addresses, URLs, names, messages, signatures.

Nothing here opens a connection, reads a file or imports from the other packages of
`halftone_shared`.
"""
