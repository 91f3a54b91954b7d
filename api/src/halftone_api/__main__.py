"""The command `halftone-api`, also started by `python -m halftone_api`."""

import gc

# Nothing that the imports create is garbage, and looking for some takes a sixth of the start.
gc.disable()
from halftone_api.main import main  # noqa: E402

gc.enable()

if __name__ == "__main__":
    main()
