"""The command `halftone-worker`, also started by `python -m halftone_workers`."""

import gc

# Imports create no garbage, and collecting takes a sixth of the start's processor time.
gc.disable()
from halftone_workers.main import main  # noqa: E402

gc.enable()

if __name__ == "__main__":
    main()
