"""What is done to decoded frames before they are encoded: one function a step.

A step takes the frames and the job, and returns frames. It returns the same object if its options
ask for nothing. `codec/pipeline.py` lists the steps in their order.
"""
