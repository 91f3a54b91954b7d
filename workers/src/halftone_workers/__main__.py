"""The command `halftone-worker`, also started by `python -m halftone_workers`."""

from halftone_shared.runtime.gc_tuning import no_collection

with no_collection():
    from halftone_workers.main import main

if __name__ == "__main__":
    main()
