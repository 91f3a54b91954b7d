"""`python -m halftone_api` is `halftone-api`."""

from halftone_api.main import main

main()
