"""The home folder, in which `halftone up` keeps its database, images and secrets between runs."""

import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_HOME = Path(".halftone")


@dataclass(frozen=True)
class Home:
    folder: Path

    @classmethod
    def at(cls, folder: Path) -> "Home":
        """The home at a folder, which may not exist yet."""
        return cls(folder.expanduser().resolve())

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def storage_url(self) -> str:
        return (self.folder / "storage").as_uri()

    def secret(self, name: str, made: str) -> str:
        """Return the secret with this name. The first call stores `made`, readable by its owner
        only; later calls return the stored secret.
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
