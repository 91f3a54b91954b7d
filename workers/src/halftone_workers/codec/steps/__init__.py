"""The steps between decoding and encoding, one function each.

A step takes the frames and the job, and returns frames. It returns the same object if it has
nothing to do. `codec/pipeline.py` lists the steps in their order.
"""
