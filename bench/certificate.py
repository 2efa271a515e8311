"""A certificate of the loopback's own, made for one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Three PEM files.

    Attributes:
        authority: what clients trust.
        chain: what the server shows.
        key: its private key.
    """

    authority: Path
    chain: Path
    key: Path

    def trust(self) -> dict[str, str]:
        """The variables by which clients find out whom to trust: OpenSSL's, requests' and curl's."""
        return dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), str(self.authority))


def make_certificate(folder: Path) -> Certificate:
    """Write an authority, and a certificate of it for 127.0.0.1 and localhost with its key."""
    made = Certificate(
        authority=folder / "authority.pem", chain=folder / "certificate.pem", key=folder / "certificate.key"
    )
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = authority.issue_cert("127.0.0.1", "localhost", key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(made.authority)
    made.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    made.key.touch(mode=0o600)
    made.key.write_bytes(issued.private_key_pem.bytes())
    return made
