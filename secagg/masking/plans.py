"""Plans of masked sums: SecAgg, in which everybody masks with everybody, and SecAggPlus, with a few neighbours each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self, final

from secagg.api import Entropy, Keys
from secagg.checks import check_integer
from secagg.envelope import digest
from secagg.errors import ParameterError
from secagg.masking.client import MaskingClient
from secagg.masking.keys import KEY_BYTES, Identity
from secagg.masking.layout import Layout
from secagg.masking.messages import OVERHEAD, Kind
from secagg.masking.parameters import Thresholds, complete_graph, harary_graph, modulus_bits
from secagg.masking.server import MaskingServer
from secagg.masking.shamir import MAX_POINTS
from secagg.masking.task import PartyKeys, Registry, Task
from secagg.prg import draw

__all__ = ["SecAgg", "SecAggPlus"]

_LEAKS = (
    "Parties whose models or settings differ do not meet in one sum; that says nothing about a model crafted for all, "
    "or about comparing the sums of different rounds. A sum is not differentially private by itself."
)
_ADVERSARIES = ("semi_honest", "malicious", "semi_malicious")


@dataclass(frozen=True, slots=True)
class _MaskedSum:
    """What both plans are: public numbers, and sessions made of them."""

    num_parties: int
    dim: int
    value_bits: int
    adversary: Any
    corrupt: float
    dropout: float
    wrap: bool
    thresholds: Thresholds = field(init=False)
    modulus_bits: int = field(init=False)

    def _prepare(self, thresholds: Thresholds) -> None:
        for name, most in (("num_parties", 2**31), ("dim", 2**40), ("value_bits", 64)):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), at_least=1, at_most=most))
        if thresholds.neighbours >= MAX_POINTS:
            raise ParameterError(
                f"a secret has at most {MAX_POINTS} shares, got {self.num_parties} parties; use SecAggPlus."
            )
        object.__setattr__(self, "thresholds", thresholds)
        object.__setattr__(self, "modulus_bits", modulus_bits(self.num_parties, self.value_bits, wrap=self.wrap))

    @property
    def threshold(self) -> int:
        """Shares that open a secret."""
        return self.thresholds.threshold

    @property
    def neighbours(self) -> int:
        """Parties that one party shares masks with."""
        return self.thresholds.neighbours

    @property
    def min_survivors(self) -> int:
        """The sum is opened only if at least so many inputs are in it."""
        return self.thresholds.min_survivors

    @property
    def min_honest(self) -> int:
        """Honest inputs that any opened sum contains; noise is planned for so many."""
        return self.thresholds.min_honest

    @property
    def promise(self) -> str:
        """One paragraph: secure against whom, assuming what, leaking what."""
        plan = self.thresholds
        whom = f"the server and up to {plan.corrupt} of {self.num_parties} parties together"
        return f"{type(self).__name__} ({self.adversary.replace('_', '-')}): {whom} {self._against} {_LEAKS}"

    @property
    def _against(self) -> str:
        """What the adversary may do, and what holds then."""
        plan = self.thresholds
        sums = f"A sum has the inputs of at least {plan.min_honest} honest parties"
        if self.adversary == "semi_honest":
            return (
                "who follow the protocol and put together all that they see learn the sum of the survivors' vectors "
                f"and who they are. {sums}. A server that lies (other keys, other drop-outs) is not covered."
            )
        if self.adversary == "malicious":
            return (
                f"who do what they like learn one sum at most. {sums}. Assumed: signing keys of all parties that come "
                f"from elsewhere than the server, and fewer than {plan.threshold} shares in one hand. The sum may be "
                "wrong, or not come out, if someone lies."
            )
        return (
            "learn one sum at most, of parties that hang together in the graph, though the server may say of anyone "
            f"that it dropped out. {sums}. Assumed: the server drew the graph at random, relays keys and shares "
            f"honestly, and {self._quorum} parties sign the one list of survivors."
        )

    @property
    def rounds(self) -> tuple[str, ...]:
        """Names of the rounds, in order."""
        consistency = ("consistency",) if self._layout.quorum else ()
        return ("advertise", "share_keys", "masked_input", *consistency, "unmask")

    @property
    def bytes_up(self) -> int:
        """Bytes a party sends, an upper bound; exact if nobody drops out."""
        layout, most = self._layout, self.neighbours + 1
        kinds = [Kind.ADVERTISE, Kind.SHARES, Kind.INPUT, Kind.UNMASK, *([Kind.SIGNATURE] if layout.quorum else [])]
        return sum(OVERHEAD + layout.body_limit(kind, most, self.num_parties) for kind in kinds)

    @property
    def bytes_down(self) -> int:
        """Bytes a party receives, an upper bound."""
        layout, most = self._layout, self.neighbours + 1
        kinds = [Kind.ROSTER, Kind.RELAY, Kind.SURVIVORS, *([Kind.PROOF] if layout.quorum else [])]
        listed = self.num_parties if layout.quorum else most
        return sum(OVERHEAD + layout.body_limit(kind, most, listed) for kind in kinds)

    def keygen(self, entropy: Entropy | None = None) -> Keys[PartyKeys, PartyKeys]:
        """A task for all parties and, where they sign, identities for a simulation.

        In earnest the task is made of the model that each party loaded, and identities come from elsewhere.

        Args:
            entropy: source of the nonce and of signing keys; None means the system's.

        Returns:
            What each party and the server are given.
        """
        task = Task(bytes(KEY_BYTES), 0, draw(entropy, KEY_BYTES))
        if not self._layout.signed:
            return Keys((PartyKeys(task),) * self.num_parties, PartyKeys(task))
        signers = [Identity(draw(entropy, KEY_BYTES)) for _ in range(self.num_parties)]
        publics = {party: signer.public for party, signer in enumerate(signers)}
        parties = tuple(PartyKeys(task, Registry(signer, publics)) for signer in signers)
        return Keys(parties, PartyKeys(task, Registry(None, publics)))

    def client(
        self, party: int, *, entropy: Entropy | None = None, identity: Any = None, keys: Any = None, guard: Any = None
    ) -> MaskingClient:
        """A party's session.

        Args:
            party: its number, 0 to ``num_parties - 1``.
            entropy: source of the session's seed; None means the system's.
            identity: who the parties are, where the server may lie: an object with ``sign`` and ``verify``.
            keys: the task, or what :meth:`keygen` made.
            guard: what keeps a restored session from answering twice: an object with ``claim``; see
                :class:`~secagg.masking.snapshots.Guard`.

        Returns:
            The session.

        Raises:
            ParameterError: no such party; no task; an identity that is missing, or not used.
        """
        if guard is not None and not callable(getattr(guard, "claim", None)):
            raise ParameterError(f"guard must have claim, got {type(guard).__name__}; or None without restores.")
        party = check_integer("party", party, at_least=0, at_most=self.num_parties - 1)
        held = _party_keys(keys)
        signer = held.identity if identity is None else identity
        if self._layout.signed and not all(callable(getattr(signer, name, None)) for name in ("sign", "verify")):
            raise ParameterError(
                "identity must have sign and verify where the server may lie: without signed keys it can be everybody."
            )
        if not self._layout.signed and signer is not None:
            raise ParameterError("identity must be None where nothing is signed; plan with adversary='malicious'.")
        return MaskingClient(self._layout, party, held.task.identifier(self._config), signer, entropy, guard)

    def server(self, *, entropy: Entropy | None = None, keys: Any = None) -> MaskingServer:
        """The server's session.

        Args:
            entropy: source of the graph; None means the system's.
            keys: the task, or what :meth:`keygen` made: with an identity that verifies, messages are refused whose
                signature would stop the others.

        Returns:
            The session.

        Raises:
            ParameterError: no task.
        """
        held = _party_keys(keys)
        task = held.task.identifier(self._config)
        return MaskingServer(self._layout, self.rounds, task, draw(entropy, KEY_BYTES), held.identity)

    @property
    def _config(self) -> bytes:
        """The plan's digest: whatever all sides must agree on."""
        plan = self.thresholds
        return digest(
            type(self).__name__,
            self.num_parties,
            self.dim,
            self.value_bits,
            int(self.wrap),
            _ADVERSARIES.index(self.adversary),
            plan.neighbours,
            plan.threshold,
            plan.min_survivors,
            plan.min_honest,
            plan.corrupt,
        )

    @property
    def _quorum(self) -> int:
        """Signatures over the list of survivors: so many that two lists cannot both have them; 0 for an honest server.

        Of two lists with q signatures each, at most one has q > (n + A) / 2: honest parties sign once.
        """
        if self.adversary == "semi_honest":
            return 0
        return (self.num_parties + self.thresholds.corrupt) // 2 + 1

    @property
    def _layout(self) -> Layout:
        """The numbers that sessions need."""
        plan = self.thresholds
        return Layout(
            num_parties=self.num_parties,
            dim=self.dim,
            value_bits=self.value_bits,
            modulus_bits=self.modulus_bits,
            neighbours=plan.neighbours,
            threshold=plan.threshold,
            own_share=plan.own_share,
            min_survivors=plan.min_survivors,
            is_complete=plan.neighbours == self.num_parties - 1,
            signed=self.adversary == "malicious",
            quorum=self._quorum,
            config=self._config,
        )


@final
@dataclass(frozen=True, slots=True)
class SecAgg(_MaskedSum):
    """A plan of a sum in which everybody masks with everybody; made by :meth:`plan`.

    Work and traffic of a party grow with the number of parties, so it is for up to some hundreds. It is the plan for a
    server that may lie: with ``adversary="malicious"`` keys are signed by identities that the caller supplies, and no
    party gives a share before more than half of the honest ones have signed the one list of survivors.

    Guarantee: the sum of the survivors comes out exactly, or the server's session raises
    (``test_the_sum_is_exact_or_nothing_comes_out``); a party gives one share of each other at most, whatever it is told
    (``test_no_server_gets_both_shares_of_a_party``).

    Args:
        num_parties: parties, >= 3.
        dim: entries of a vector.
        value_bits: bits of one entry.
        adversary: "semi_honest" or "malicious".
        corrupt: fraction of the parties that may be on the server's side.
        dropout: fraction of the parties that may drop out.
        wrap: whether the sum is taken modulo ``2**value_bits``.

    Example:
        >>> plan = SecAgg.plan(100, 1000, 16, adversary="malicious", corrupt=0.1, dropout=0.2)
        >>> plan.threshold, plan.min_survivors, plan.min_honest, plan.modulus_bits
        (80, 80, 70, 23)

    References:
        Bonawitz et al. 2017 (ePrint 2017/281), Figures 2 and 4, and sections 6.1 and 6.2.
    """

    def __post_init__(self) -> None:
        self._prepare(
            complete_graph(self.num_parties, adversary=self.adversary, corrupt=self.corrupt, dropout=self.dropout)
        )

    @classmethod
    def plan(
        cls,
        num_parties: int,
        dim: int,
        value_bits: int,
        *,
        adversary: Literal["semi_honest", "malicious"],
        corrupt: float,
        dropout: float,
        wrap: bool = False,
    ) -> Self:
        """Plan a masked sum on the complete graph.

        Args:
            num_parties: parties, >= 3.
            dim: entries of a vector, >= 1.
            value_bits: bits of one entry, 1 to 64.
            adversary: "semi_honest": the server follows the protocol and looks; "malicious": it sends what it likes.
            corrupt: fraction of the parties that are on the server's side, in [0, 1), floored.
            dropout: fraction of the parties that may drop out, in [0, 1), floored.
            wrap: sum modulo ``2**value_bits`` instead of exactly.

        Returns:
            The plan.

        Raises:
            ParameterError: an argument is out of its domain, or no threshold keeps the promise.
            CapacityError: without `wrap`, the sum may need more than 64 bits.
        """
        return cls(num_parties, dim, value_bits, adversary, corrupt, dropout, wrap)


@final
@dataclass(frozen=True, slots=True)
class SecAggPlus(_MaskedSum):
    """A plan of a sum in which everybody masks with a few neighbours; made by :meth:`plan`.

    Neighbours, and so the work of a party, grow with the logarithm of the number of parties. The graph is the server's:
    the plan is for one that draws it at random and relays keys and shares honestly. With
    ``adversary="semi_malicious"`` it may lie about who dropped out, and parties sign the one list of survivors with
    keys of the session.

    Guarantee: as for :class:`SecAgg`; but for a probability of 2^-40 over the graph.

    Args:
        num_parties: parties, >= 3.
        dim: entries of a vector.
        value_bits: bits of one entry.
        adversary: "semi_honest" or "semi_malicious".
        corrupt: fraction of the parties that may be on the server's side.
        dropout: fraction of the parties that may drop out.
        wrap: whether the sum is taken modulo ``2**value_bits``.
        connected: whether a semi-malicious plan takes more neighbours, for sums of all honest survivors.

    Example:
        >>> plan = SecAggPlus.plan(10_000, 1000, 16, adversary="semi_honest", corrupt=0.05, dropout=0.05)
        >>> plan.neighbours, plan.threshold, plan.min_honest
        (34, 20, 9000)

    References:
        Bell et al. 2020 (ePrint 2020/704), section 3.
    """

    connected: bool = False

    def __post_init__(self) -> None:
        self._prepare(
            harary_graph(
                self.num_parties,
                adversary=self.adversary,
                corrupt=self.corrupt,
                dropout=self.dropout,
                connected=self.connected,
            )
        )

    @classmethod
    def plan(
        cls,
        num_parties: int,
        dim: int,
        value_bits: int,
        *,
        adversary: Literal["semi_honest", "semi_malicious"],
        corrupt: float,
        dropout: float,
        wrap: bool = False,
        connected: bool = False,
    ) -> Self:
        """Plan a masked sum on a Harary graph, or on the complete one where no smaller degree will do.

        Args:
            num_parties: parties, >= 3.
            dim: entries of a vector, >= 1.
            value_bits: bits of one entry, 1 to 64.
            adversary: "semi_honest": the server follows the protocol and looks; "semi_malicious": it may lie about who
                dropped out.
            corrupt: fraction of the parties that are on the server's side, in [0, 1), floored.
            dropout: fraction of the parties that may drop out, in [0, 1), floored.
            wrap: sum modulo ``2**value_bits`` instead of exactly.
            connected: for "semi_malicious": more neighbours than published, and any sum has all honest survivors in it;
                without, ``min_honest`` is a handful.

        Returns:
            The plan.

        Raises:
            ParameterError: an argument is out of its domain, or no threshold keeps the promise.
            CapacityError: without `wrap`, the sum may need more than 64 bits.
        """
        return cls(num_parties, dim, value_bits, adversary, corrupt, dropout, wrap, connected)


def _party_keys(keys: Any) -> PartyKeys:
    """A task, alone or with an identity."""
    if isinstance(keys, Task):
        return PartyKeys(keys)
    if not isinstance(keys, PartyKeys):
        raise ParameterError(f"keys must be a Task, or what keygen() made, got {type(keys).__name__}.")
    return keys
