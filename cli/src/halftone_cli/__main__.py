"""The command `halftone`, also started by `python -m halftone_cli`."""

from halftone_shared.runtime.gc_tuning import no_collection

with no_collection():
    from halftone_cli.main import main

if __name__ == "__main__":
    main()
