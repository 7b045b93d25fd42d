"""Exact integer sums under BFV with one secret key among the clients: the server adds what it cannot read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final, overload

from secagg.api import Entropy, Keys
from secagg.checks import check_integer
from secagg.envelope import Channel
from secagg.errors import DecodeError, ParameterError
from secagg.he.keys import KEY_BYTES, ClientKeys, ServerKeys
from secagg.he.planner import least_survivors, tag_bits
from secagg.he.plans import BFVPlan
from secagg.he.public import PublicBFVSum
from secagg.he.rings import SHARED_RING, Ring
from secagg.he.seal import Decryptor, SeededEncryptor, backend
from secagg.he.work import BFVReader, BFVSealer, BFVServer
from secagg.onemessage import OneMessageClient, OneMessageServer, refuse_unused
from secagg.prg import draw
from secagg.tag import SumTag

__all__ = ["BFVSum"]


@final
@dataclass(frozen=True, slots=True)
class BFVSum(BFVPlan):
    r"""A plan of a homomorphic sum that every party can open; made by :meth:`plan`.

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
        Fan & Vercauteren, "Somewhat practical fully homomorphic encryption" (2012); for the ring, the two tables of
        :mod:`secagg.he.rings`: at degree 4096, moduli of up to 56 (58) bits have 256 bits of security.
    """

    num_parties: int
    dim: int
    value_bits: int
    key: Literal["shared"]
    min_survivors: int

    def __post_init__(self) -> None:
        if self.key != "shared":
            raise ParameterError(f'key must be "shared", got {self.key!r}; plan(key="public") has a type of its own.')
        self._check()

    @overload
    @classmethod
    def plan(
        cls,
        num_parties: int,
        dim: int,
        value_bits: int,
        *,
        key: Literal["shared"] = "shared",
        dropout: float = 0.0,
    ) -> BFVSum: ...
    @overload
    @classmethod
    def plan(
        cls, num_parties: int, dim: int, value_bits: int, *, key: Literal["public"], dropout: float = 0.0
    ) -> PublicBFVSum: ...
    @classmethod
    def plan(
        cls,
        num_parties: int,
        dim: int,
        value_bits: int,
        *,
        key: Literal["shared", "public"] = "shared",
        dropout: float = 0.0,
    ) -> BFVSum | PublicBFVSum:
        """Plan a homomorphic sum.

        Args:
            num_parties: parties, >= 3.
            dim: entries of a vector, >= 1.
            value_bits: bits of one entry, >= 1; entries lie in ``[0, 2**value_bits)``. Sums do not wrap: send
                offset-encoded integers, never residues (the sum of residues would tell how many were negative).
            key: "shared": all parties hold one secret key and the server none; "public": parties hold a public key, and
                one opener the secret one (a :class:`~secagg.he.public.PublicBFVSum`, with keys of other types).
            dropout: fraction of the parties that may fail to send, in [0, 1), floored to parties.

        Returns:
            The plan.

        Raises:
            ParameterError: an argument is out of its domain, or fewer than 3 parties would have to survive.
            CapacityError: the sum does not fit a slot beside its noise; or more than 1024 parties would open it, and
                tell a lying server as many bits of the secret key.
        """
        if key == "public":
            return PublicBFVSum.plan(num_parties, dim, value_bits, dropout=dropout)
        if key != "shared":
            raise ParameterError(f'key must be "shared" or "public", got {key!r}.')
        num_parties = check_integer("num_parties", num_parties, at_least=3, at_most=2**31)
        return cls(num_parties, dim, value_bits, "shared", least_survivors(num_parties, dropout))

    @property
    def ring(self) -> Ring:
        """Degree 4096 and one prime: no public or evaluation key leaves, so seeded ciphertexts alone count."""
        return SHARED_RING

    @property
    def promise(self) -> str:
        """What this protocol promises."""
        return (
            f"BFVSum (one key among {self.num_parties} clients) keeps every vector, and the sum, from the server "
            f"and from whoever reads the wire, as long as no client helps them: {self.security}. A server that "
            "combines ciphertexts in any way but one from each announced party is found by a tag (chance that any "
            f"forgery passes in a session at most 2^-{tag_bits(self.num_parties)}: {self.num_parties} attempts, one "
            "per client, of at most 3/(t - 1) each, t the plaintext modulus), and no sum of fewer than "
            f"{self.min_survivors} inputs is opened. Whether a client opens tells such a server one bit, which hangs "
            "on what the server changed, on encryption noise and on the secret key, not on the vectors: in a session, "
            f"{self.num_parties} of some 6492 bits of the key. {self._told_apart}Any single client together "
            "with the server or the wire reads everybody's vector: against such a pair a ledger may claim only "
            "each party's own local noise. Every client learns the sum and the list of survivors; the server "
            "learns who took part. A client that cheats can enter values beyond the planned range or below zero, "
            "as long as the sums stay in their own, and can spoil the sum; nobody sees which client did. Keys are for "
            "one session: never use them for a second one."
        )

    @property
    def _told_apart(self) -> str:
        """What a server can do with lists of survivors, where there can be more than one."""
        if self.min_survivors == self.num_parties:
            return ""
        return (
            "It can have clients open sums of different survivors, and whoever is told two of them learns their "
            "difference, which can be one vector: clients must compare their lists before they tell a sum to anybody. "
        )

    @property
    def min_honest(self) -> int:
        """Inputs in an opened sum that one observer does not know: the survivors but itself.

        Parties open the sum and each knows its own share, so against any one party only the others' noise counts:
        noise is planned for ``min_survivors - 1`` shares. It holds against a party alone, and against the server
        alone, even a lying one, as long as nobody is told two sums of a session. For those, and for a party that shares
        what it knows with the server, see :attr:`promise`.
        """
        return self.min_survivors - 1

    @property
    def bytes_down(self) -> int:
        """Bytes a party receives, at most."""
        return self._sum_bytes

    def keygen(self, entropy: Entropy | None = None) -> Keys[ClientKeys, ServerKeys]:
        """Fresh keys of one session. Hand each party its own where the server can neither read nor change it.

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
        base = backend(self.plain_modulus)
        try:
            encryptor, decryptor = SeededEncryptor(base, keys.secret_key), Decryptor(base, keys.secret_key)
        except DecodeError as error:
            raise ParameterError(
                f"keys.secret_key must be a key of this plan, made with its keygen(): {error}"
            ) from None
        config, layout = self._config, self._layout
        tag = SumTag(
            keys.group_key,
            session=keys.session,
            config=config,
            modulus=self.plain_modulus,
            num_parties=self.num_parties,
            slots=self.ring.degree - 1,
        )
        channel = Channel(keys.session, config, party, self.chunks, keys.link_key, self.bytes_down)
        sealer, reader = BFVSealer(layout, party, encryptor, tag), BFVReader(layout, decryptor, base, tag)
        return OneMessageClient(self, channel, sealer, reader)

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
