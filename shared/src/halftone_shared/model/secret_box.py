"""Clients' secrets at rest: encrypted under a key from the environment, which no copy of the
database holds.
"""

import base64
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken

from halftone_shared.errors import SecretUnreadable


class SecretBox:
    """Seals and opens secrets (Fernet: AES-128-CBC with HMAC-SHA256).

    Its key is made of the service's own webhook secret, which API and workers share anyway and
    whose loss would cost the same: whoever has it can sign in the service's name.
    """

    def __init__(self, service_secret: str) -> None:
        self._fernet = Fernet(
            base64.urlsafe_b64encode(
                sha256(b"halftone secrets at rest" + service_secret.encode()).digest()
            )
        )

    def seal(self, secret: str) -> str:
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """Raises SecretUnreadable."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise SecretUnreadable from None
