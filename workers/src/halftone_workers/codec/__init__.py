"""The image codec: bytes and options in, bytes and facts out. Pure: no network, no files, no
database.

`pipeline.compress` is the entry point. `formats` lists the formats that are read and written;
`encoders` writes each format.
"""
