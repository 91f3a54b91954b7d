"""The command `halftone-worker`, also started by `python -m halftone_workers`."""

import gc

# Nothing that the imports create is garbage, and looking for some takes a sixth of the start.
gc.disable()
from halftone_workers.main import main  # noqa: E402

gc.enable()

if __name__ == "__main__":
    main()
