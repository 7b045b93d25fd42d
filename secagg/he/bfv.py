"""Exact integer sums under BFV with one secret key among the clients: the server adds what it cannot read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self, final

from secagg.api import Entropy, Keys
from secagg.checks import check_integer, dropped_parties
from secagg.envelope import OVERHEAD, Channel, digest
from secagg.errors import DecodeError, ParameterError
from secagg.he.keys import KEY_BYTES, ClientKeys, ServerKeys
from secagg.he.planner import fields_per_slot, plain_modulus, tag_bits
from secagg.he.seal import FULL_BYTES, MODULUS, RING, SEEDED_BYTES, Cipher, backend, blob_limit
from secagg.he.work import BFVClient, BFVServer, Layout
from secagg.masking.packing import set_bytes
from secagg.onemessage import ROUNDS, OneMessageClient, OneMessageServer, refuse_unused
from secagg.prg import draw
from secagg.tag import SumTag

__all__ = ["BFVSum"]


@final
@dataclass(frozen=True, slots=True)
class BFVSum:
    r"""A plan of a homomorphic sum; made by :meth:`plan`.

    Every party packs its integers into slots, several to a slot, and sends seeded symmetric ciphertexts; the server
    adds them without a key; any party opens the sum and verifies its tag against the announced survivors.

    Guarantee:
        Sums are exact: decryption failure has probability zero for every plan that is accepted
        (:mod:`secagg.he.planner`; held by ``test_worst_case_noise_decrypts`` and ``test_equals_the_plain_sum``). What
        is kept from whom, :attr:`promise` says.

    Args:
        num_parties: parties, >= 3 (of two, each would read the other's part off the sum).
        dim: entries of a vector.
        value_bits: bits of one entry.
        key: "shared".
        min_survivors: the sum is opened only if at least so many inputs are in it.

    Example:
        >>> plan = BFVSum.plan(15, 1_000_000, 16)
        >>> plan.values_per_chunk, plan.chunks
        (8190, 123)

    References:
        Fan & Vercauteren, "Somewhat practical fully homomorphic encryption" (2012); Homomorphic Encryption Standard
        (2018), table 1: for ring dimension 4096, moduli of up to 58 bits have 256-bit security.
    """

    num_parties: int
    dim: int
    value_bits: int
    key: Literal["shared"]
    min_survivors: int

    def __post_init__(self) -> None:
        for name, least, most in (("num_parties", 3, 2**31), ("dim", 1, 2**40), ("value_bits", 1, 64)):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), at_least=least, at_most=most))
        survivors = check_integer("min_survivors", self.min_survivors, at_least=3, at_most=self.num_parties)
        object.__setattr__(self, "min_survivors", survivors)
        if self.key != "shared":
            raise ParameterError(f'key must be "shared", got {self.key!r}; "public" is not offered yet.')
        fields_per_slot(self.num_parties, self.value_bits)
        tag_bits(self.num_parties)

    @classmethod
    def plan(
        cls,
        num_parties: int,
        dim: int,
        value_bits: int,
        *,
        key: Literal["shared", "public"] = "shared",
        dropout: float = 0.0,
    ) -> Self:
        """Plan a homomorphic sum.

        Args:
            num_parties: parties, >= 3.
            dim: entries of a vector, >= 1.
            value_bits: bits of one entry, >= 1; entries lie in ``[0, 2**value_bits)``. Sums do not wrap: send
                offset-encoded integers, never residues (the sum of residues would tell how many were negative).
            key: "shared": all parties hold one secret key and the server none.
            dropout: fraction of the parties that may fail to send, in [0, 1), floored to parties.

        Returns:
            The plan.

        Raises:
            ParameterError: an argument is out of its domain, or fewer than 3 parties would have to survive.
            CapacityError: the sum does not fit a slot beside its noise, or the noise of so many parties leaves a lying
                server a chance above 2^-20 to pass a forgery in a session.
        """
        if key != "shared":
            raise ParameterError(f'key must be "shared", got {key!r}; "public" is not offered yet.')
        num_parties = check_integer("num_parties", num_parties, at_least=3, at_most=2**31)
        survivors = num_parties - dropped_parties(dropout, num_parties)
        if survivors < 3:
            raise ParameterError(
                f"dropout must leave at least 3 of {num_parties} parties, got {dropout} which leaves {survivors}: with "
                "two, each reads the other's part off the sum."
            )
        return cls(num_parties, dim, value_bits, "shared", survivors)

    @property
    def wrap(self) -> bool:
        """Never: homomorphic sums are exact integers."""
        return False

    @property
    def rounds(self) -> tuple[str, ...]:
        """Names of the rounds, in order."""
        return ROUNDS

    @property
    def promise(self) -> str:
        """What this protocol promises."""
        return (
            f"BFVSum (one key among {self.num_parties} clients) keeps every vector, and the sum, from the server "
            "and from whoever reads the wire, as long as no client helps them: RLWE with ring dimension 4096 and "
            "a 54-bit modulus, within the 256-bit row of the Homomorphic Encryption Standard. A server that "
            "combines ciphertexts in any way but one from each announced party is found by a tag (chance that any "
            f"forgery passes in a session at most 2^-{tag_bits(self.num_parties)}: {self.num_parties} attempts, one "
            "per client, of at most 3/t each, t the plaintext modulus; a client that fails to open tells the server "
            "one bit, which hangs on what the server changed and on encryption noise, not on the vectors), and no sum "
            f"of fewer than {self.min_survivors} inputs is opened. Any single client together "
            "with the server or the wire reads everybody's vector: against such a pair a ledger may claim only "
            "each party's own local noise. Every client learns the sum and the list of survivors; the server "
            "learns who took part. A client can enter any vector of the planned range. Keys are for one session: "
            "never use them for a second one."
        )

    @property
    def modulus_bits(self) -> int:
        """Bits of the ciphertext modulus."""
        return MODULUS.bit_length()

    @property
    def plain_modulus(self) -> int:
        """The plaintext modulus t: a sum of slots stays below it."""
        return plain_modulus(self.num_parties)

    @property
    def min_honest(self) -> int:
        """Inputs in an opened sum that one observer does not know: the survivors but itself.

        Parties open the sum and each knows its own share, so against any one party only the others' noise counts:
        noise is planned for ``min_survivors - 1`` shares. It holds against a party alone, and against the server
        alone, even a lying one. Against a party that shares what it knows with the server, see :attr:`promise`.
        """
        return self.min_survivors - 1

    @property
    def values_per_chunk(self) -> int:
        """Values of one ciphertext: all slots but the tag's, several fields each."""
        return self._layout.values

    @property
    def chunks(self) -> int:
        """Ciphertexts of one vector."""
        return self._layout.chunks

    @property
    def bytes_up(self) -> int:
        """Bytes a party sends, at most: SEAL compresses, and a compressed length has a bound but varies a little."""
        return OVERHEAD + self.chunks * (4 + blob_limit(SEEDED_BYTES))

    @property
    def bytes_down(self) -> int:
        """Bytes a party receives, at most."""
        return OVERHEAD + set_bytes(self.num_parties) + self.chunks * (4 + blob_limit(FULL_BYTES))

    def keygen(self, entropy: Entropy | None = None) -> Keys[ClientKeys, ServerKeys]:
        """Fresh keys of one session. Hand each party its own over a channel that the server does not read.

        Args:
            entropy: source of the session identifier, the group key and the link keys; None means the system's. The
                secret key and all encryption randomness come from SEAL's own generator, whatever is passed: seeding it
                would repeat ciphertext randomness.

        Returns:
            The keys of all parties and of the server.

        Raises:
            BackendError: TenSEAL is missing.
        """
        secret_key = backend(self.plain_modulus).new_secret_key()
        session, group_key = draw(entropy, KEY_BYTES), draw(entropy, KEY_BYTES)
        links = tuple(draw(entropy, KEY_BYTES) for _ in range(self.num_parties))
        clients = tuple(ClientKeys(party, session, secret_key, group_key, link) for party, link in enumerate(links))
        return Keys(clients, ServerKeys(session, links))

    def client(
        self,
        party: int,
        *,
        entropy: Entropy | None = None,
        identity: Any = None,
        keys: ClientKeys | None = None,
        guard: Any = None,
    ) -> OneMessageClient:
        """A party's session.

        Args:
            party: its number, 0 to ``num_parties - 1``.
            entropy: not used: SEAL draws its own randomness (see :meth:`keygen`).
            identity: must be None.
            keys: this party's keys from :meth:`keygen`; required. One session only.
            guard: must be None.

        Returns:
            The session.

        Raises:
            ParameterError: no such party, or not its keys.
            BackendError: TenSEAL is missing.
        """
        refuse_unused(identity, guard)
        party = check_integer("party", party, at_least=0, at_most=self.num_parties - 1)
        if not isinstance(keys, ClientKeys) or keys.party != party:
            raise ParameterError(f"keys must be the ClientKeys of party {party}: plan.keygen().clients[{party}].")
        try:
            cipher = Cipher(backend(self.plain_modulus), keys.secret_key)
        except DecodeError:
            raise ParameterError(
                "keys.secret_key is not a key of this plan; make keys with this plan's keygen()."
            ) from None
        config = self._config
        tag = SumTag(
            keys.group_key,
            session=keys.session,
            config=config,
            modulus=self.plain_modulus,
            num_parties=self.num_parties,
            slots=RING - 1,
        )
        channel = Channel(keys.session, config, party, self.chunks, keys.link_key, self.bytes_down)
        work = BFVClient(self._layout, party, cipher, backend(self.plain_modulus), tag)
        return OneMessageClient(self, channel, work, work)

    def server(self, *, entropy: Entropy | None = None, keys: ServerKeys | None = None) -> OneMessageServer:
        """The server's session.

        Args:
            entropy: not used.
            keys: the server's keys from :meth:`keygen`; required.

        Returns:
            The session.

        Raises:
            ParameterError: not a server's keys of this many parties.
            BackendError: TenSEAL is missing.
        """
        if not isinstance(keys, ServerKeys) or len(keys.link_keys) != self.num_parties:
            raise ParameterError("keys must be the ServerKeys of this plan: plan.keygen().server.")
        config, chunks, limit = self._config, self.chunks, self.bytes_up
        channels = tuple(
            Channel(keys.session, config, party, chunks, link, limit) for party, link in enumerate(keys.link_keys)
        )
        return OneMessageServer(self, channels, BFVServer(self._layout, backend(self.plain_modulus)))

    @property
    def _layout(self) -> Layout:
        """Where values stand in ciphertexts."""
        return Layout(dim=self.dim, num_parties=self.num_parties, value_bits=self.value_bits)

    @property
    def _config(self) -> bytes:
        """The plan's digest: whatever two sides must agree on."""
        return digest(
            "BFVSum shared",
            *(self.num_parties, self.dim, self.value_bits, self.min_survivors),
            *(RING, MODULUS, self.plain_modulus, self._layout.width, self._layout.fields),
        )
