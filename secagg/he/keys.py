"""Who holds what in a homomorphic sum with one key among the clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from secagg.errors import ParameterError

__all__ = ["KEY_BYTES", "ClientKeys", "ServerKeys"]

KEY_BYTES = 32
"""Length of session identifiers and symmetric keys."""


def _check_lengths(*keys: bytes) -> None:
    """A short key would be padded silently further down."""
    if any(not isinstance(key, bytes) or len(key) != KEY_BYTES for key in keys):
        raise ParameterError(
            f"session, group_key and link_key must be {KEY_BYTES} bytes each; make them with keygen()."
        )


@final
@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What one party holds, for one session only.

    The secret key and the group key are the same for all parties; the link key is shared with the server alone. There
    is no public, relinearisation or Galois key: the modulus has a single prime, under which SEAL cannot make the latter
    two, and the first is never made.

    Args:
        party: whose keys these are.
        session: 32 bytes, of this session only.
        secret_key: the SEAL secret key, serialised.
        group_key: 32 bytes, for the tags.
        link_key: 32 bytes, for this party's envelopes.
    """

    party: int
    session: bytes = field(repr=False)
    secret_key: bytes = field(repr=False)
    group_key: bytes = field(repr=False)
    link_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_lengths(self.session, self.group_key, self.link_key)


@final
@dataclass(frozen=True, slots=True)
class ServerKeys:
    """What the server holds: nothing that opens a ciphertext.

    Args:
        session: 32 bytes, of this session only.
        link_keys: 32 bytes for each party, in order.
    """

    session: bytes = field(repr=False)
    link_keys: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        _check_lengths(self.session, *self.link_keys)
