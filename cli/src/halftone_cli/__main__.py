"""The command `halftone`, also started by `python -m halftone_cli`."""

import gc

# Nothing that the imports create is garbage, and looking for some takes a sixth of the start.
gc.disable()
from halftone_cli.main import main  # noqa: E402

gc.enable()

if __name__ == "__main__":
    main()
