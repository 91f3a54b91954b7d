"""The command `halftone-api`, also started by `python -m halftone_api`."""

from halftone_shared.runtime.gc_tuning import no_collection

with no_collection():
    from halftone_api.main import main

if __name__ == "__main__":
    main()
