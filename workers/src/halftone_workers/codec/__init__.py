"""The image codec: bytes and options in, bytes and facts out. Pure: no network, no files, no
database.

`pipeline.compress` is the way in; `formats` says what is read and written, `encoders` how each
format is written.
"""
