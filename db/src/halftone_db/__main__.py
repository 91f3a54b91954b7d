"""`python -m halftone_db` is `halftone-migrate`."""

from halftone_db import main

main()
