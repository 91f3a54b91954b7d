"""Encryption of clients' secrets at rest, with a key from the environment that is not in the
database.
"""

import base64
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken

from halftone_shared.errors import SecretUnreadable


class SecretBox:
    """Seals and opens secrets (Fernet: AES-128-CBC with HMAC-SHA256).

    The key is derived from the service's webhook secret. API and workers share that secret already,
    and leaking it is as serious: its holder can sign webhooks as the service.
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
