"""`python -m halftone_cli` is `halftone`."""

from halftone_cli.main import main

main()
