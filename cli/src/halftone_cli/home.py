"""The home: the folder that holds what `halftone up` keeps between runs, its database, its images
and its secrets.
"""

import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_HOME = Path(".halftone")


@dataclass(frozen=True)
class Home:
    folder: Path

    @classmethod
    def at(cls, folder: Path) -> "Home":
        """The home at a folder, which need not be there yet."""
        return cls(folder.expanduser().resolve())

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def storage_url(self) -> str:
        return (self.folder / "storage").as_uri()

    def secret(self, name: str, made: str) -> str:
        """A secret by its name: `made` the first time, and from then on the one that was kept, for
        its owner's eyes.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            if kept := path.read_text().strip():
                return kept
            descriptor = os.open(path, os.O_WRONLY)  # a full disk left it empty
        with os.fdopen(descriptor, "w") as file:
            file.write(made + "\n")
        return made
