"""Why an image failed: each public code with its explanation.

The codes are stable across versions. `/docs`, OpenAPI, the web page, the client and the reference
take codes and texts from here; to add a code, add a member.
"""

from enum import StrEnum


class ImageErrorCode(StrEnum):
    """A code, its meaning, whether the service retries by itself, and what to do.

    `retried`: the failure may pass, so the product is tried again with a backoff before the error
    counts. For `http_error` that depends on the status: 408, 425, 429 and 5xx are retried.
    """

    meaning: str
    retried: bool
    remedy: str

    def __new__(
        cls, code: str, meaning: str = "", retried: bool = False, remedy: str = ""
    ) -> "ImageErrorCode":
        # The defaults are for mypy, which treats ImageErrorCode("timeout") as a call of this
        # method.
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        member.retried = retried
        member.remedy = remedy
        return member

    INVALID_URL = (
        "invalid_url",
        "The text in the cell is not an http(s) URL.",
        False,
        "Correct the URL in the file and upload it again.",
    )
    BLOCKED_ADDRESS = (
        "blocked_address",
        "The host has an address in a private network, and halftone does not fetch from there.",
        False,
        "Serve the image from a public address, or ask the operator to allow the network "
        "(HALFTONE_FETCH_ALLOW).",
    )
    DNS_FAILED = (
        "dns_failed",
        "The name of the host could not be resolved.",
        True,
        "Check the host in the URL; retry when its DNS answers again.",
    )
    CONNECT_FAILED = (
        "connect_failed",
        "The server could not be reached, or broke the connection.",
        True,
        "Check that the server is running and that its firewall lets the service in; then retry.",
    )
    TLS_FAILED = (
        "tls_failed",
        "The server's certificate is not valid, or no secure connection could be made.",
        False,
        "Renew or correct the certificate of the host; then retry.",
    )
    TIMEOUT = (
        "timeout",
        "The image did not arrive in time.",
        True,
        "Retry when the server is faster, or offer a smaller image.",
    )
    HTTP_ERROR = (
        "http_error",
        "The server answered with an error, such as 404 or 403.",
        True,
        "Open the URL in a browser. Correct it if it is wrong (404). If the shop refuses the"
        " service (401, 403), set a password for its host under origins, or let the shop allow the"
        " address of the service.",
    )
    BAD_HTTP = (
        "bad_http",
        "The server's answer is not valid HTTP.",
        False,
        "Ask for the server, or the proxy in front of it, to be corrected; then retry.",
    )
    TOO_MANY_REDIRECTS = (
        "too_many_redirects",
        "The server redirected too often (HALFTONE_MAX_REDIRECTS).",
        False,
        "Use the URL at the end of the redirects.",
    )
    TOO_LARGE = (
        "too_large",
        "The file has more bytes than the service accepts (HALFTONE_MAX_IMAGE_BYTES).",
        False,
        "Offer a smaller file, or ask the operator to raise the limit.",
    )
    EMPTY_BODY = (
        "empty_body",
        "The server sent an empty file.",
        False,
        "Upload the image to the shop again; then retry.",
    )
    NOT_AN_IMAGE = (
        "not_an_image",
        "The server sent something other than an image, often a web page.",
        False,
        "Open the URL in a browser without signing in. Use a URL that shows only the image.",
    )
    UNSUPPORTED_FORMAT = (
        "unsupported_format",
        "The image has a format that this service does not read.",
        False,
        "Offer it in a format that is read, such as JPEG, PNG or WebP.",
    )
    TOO_MANY_PIXELS = (
        "too_many_pixels",
        "The image has more pixels than the service accepts (HALFTONE_MAX_IMAGE_PIXELS).",
        False,
        "Offer a smaller image, or ask the operator to raise the limit.",
    )
    TOO_MANY_FRAMES = (
        "too_many_frames",
        "The animation has more frames than the service accepts (HALFTONE_MAX_IMAGE_FRAMES).",
        False,
        "Offer a shorter animation, or ask the operator to raise the limit.",
    )
    CORRUPT_IMAGE = (
        "corrupt_image",
        "The file is damaged or incomplete.",
        False,
        "Open the image in an editor, save it again, and retry.",
    )
    ENCODE_TIMEOUT = (
        "encode_timeout",
        "Compressing the image took too long.",
        False,
        "Offer a smaller image, or choose a faster format or effort.",
    )
    ENCODE_CRASHED = (
        "encode_crashed",
        "The image made the encoder fail.",
        False,
        "Save the image again in an editor; if it still fails, report it to the operator.",
    )
    STORAGE_FAILED = (
        "storage_failed",
        "The compressed image could not be stored.",
        True,
        "Operators: check the storage; then retry what failed with this code.",
    )
    PROCESSOR_FAILED = (
        "processor_failed",
        "The external image processing service refused the image, or its output cannot be used.",
        False,
        "Read the message. The operator of that service can find the job in its log.",
    )
    PROCESSOR_TIMEOUT = (
        "processor_timeout",
        "The external image processing service did not call back in time.",
        True,
        "Retry. If it happens again, ask the operator whether the service is overloaded.",
    )
    INTERNAL = (
        "internal",
        "The service failed.",
        True,
        "Retry; if it fails again, report it to the operator.",
    )
