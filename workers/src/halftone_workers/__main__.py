"""`python -m halftone_workers` is `halftone-worker`."""

from halftone_workers.main import main

main()
