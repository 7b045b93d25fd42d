"""Messages of a masked sum that must be refused: to whom, when, and with what; written by the slow sessions."""

from hashlib import sha256

PRIME = 2**255 - 19
OTHER = sha256(b"another task").digest()


class Refused:
    """Rows about the sessions of one plan.

    A row says: after the first `after` messages of a session, `to` hears the messages, from `source`. All but the last
    are taken; the last one raises `error`, now or (`when`) as the server closes the round with everybody's messages.
    """

    def __init__(self, sessions):
        self.sessions, self.rows = sessions, []

    def session(self, *rounds):
        """The session in which somebody goes in these rounds, and in no other."""
        return next(session for session in self.sessions if tuple(session.gone) == rounds)

    def party(self, what, error, session, *told, party=0, instead_of, source="server"):
        """The server says something else to a party."""
        self._add(what, error, session, told, session.at("server", party, instead_of), party, source, "receive")

    def server(self, what, error, session, message, *, party, instead_of, when="receive", source=None):
        """A party says something else to the server."""
        after = session.at(party, "server", instead_of)
        self._add(what, error, session, [message], after, "server", party if source is None else source, when)

    def late(self, what, error, session, message, *, to, source):
        """A message after all others."""
        self._add(what, error, session, [message], len(session.messages), to, source, "receive")

    def _add(self, what, error, session, told, after, to, source, when):
        self.rows.append(
            {
                "what": what,
                "session": self.sessions.index(session),
                "after": after,
                "to": to,
                "source": source,
                "messages": [message.hex() for message in told],
                "error": error,
                "when": when,
            }
        )


def refusals(sessions):
    """All rows of a plan."""
    out = Refused(sessions)
    plan = sessions[0].plan
    for kind in (_headers, _keys, _directories, _relays, _lists, _advertised, _sent, _opened):
        kind(out, sessions[0])
    if plan.signed:
        _signed_keys(out, sessions[0])
    if plan.quorum:
        _proofs(out, sessions[0])
    return out.rows


def _headers(out, s):
    """A message is for one party, task and round, and nothing else."""
    wrapped = s.setting.wrapped
    body = s.body("server", 0, "advertise")
    right = wrapped("roster", 0, body)
    changed = right[:-1] + bytes([right[-1] ^ 1])
    for what, message in (
        ("trailing byte", right + b"\0"),
        ("trailing byte that the header counts", wrapped("roster", 0, body + b"\0")),
        ("last byte missing", right[:-1]),
        ("another digest", changed),
        ("a body bit changed", right[:60] + bytes([right[60] ^ 4]) + right[61:]),
        ("another version", wrapped("roster", 0, body, version=2)),
        ("another party's message", s.messages[s.at("server", 2, "advertise")][3]),
        ("another task", wrapped("roster", 0, body, task=OTHER)),
        ("another kind", wrapped("relay", 0, body)),
        ("its own message sent back", s.messages[s.at(0, "server", "advertise")][3]),
        ("empty", b""),
    ):
        out.party(what, "DecodeError", s, message, instead_of="advertise")
    short = out.session("advertise")
    message = wrapped("roster", 0, short.body("server", 0, "advertise") + b"\0")
    out.party("trailing byte of a shorter roster", "DecodeError", short, message, instead_of="advertise")
    out.party("from a party, not the server", "PeerProtocolError", s, right, instead_of="advertise", source=2)
    out.party("a roster twice", "DecodeError", s, right, instead_of="share_keys")
    out.late(
        "survivors again after the shares were given",
        "LocalProtocolError",
        s,
        wrapped("survivors", 0, s.listed(0, [party for party in s.alive if party != 2])),
        to=0,
        source="server",
    )


def _keys(out, s):
    """Keys of a roster: canonical, there once, of this party as it sent them, and of enough parties."""
    setting, plan = s.setting, s.plan
    entries = s.rosters[0]
    other = next(party for party in entries if party)
    last = max(entries)

    def told(what, error, changed):
        out.party(
            what, error, s, setting.wrapped("roster", 0, s.written(changed, s.directory())), instead_of="advertise"
        )

    def with_public(party, public):
        return entries | {party: setting.parties[party].advertised(public=public)[: len(entries[party])]}

    theirs, mine = (setting.parties[party].public for party in (other, 0))
    number = int.from_bytes(theirs[:32], "little")
    told("without its own keys", "PeerProtocolError", {party: keys for party, keys in entries.items() if party})
    told("its own keys are another's", "PeerProtocolError", with_public(0, setting.parties[last].public))
    told(
        "one party's mask key is another's",
        "PeerProtocolError",
        with_public(other, theirs[:32] + setting.parties[last].public[32:]),
    )
    told("one party's two keys are the same", "PeerProtocolError", with_public(other, theirs[:32] * 2))
    told("a key is this party's own", "PeerProtocolError", with_public(other, mine[:32] + theirs[32:]))
    told(
        "the second encoding of a key, its high bit set",
        "PeerProtocolError",
        with_public(other, (number | 1 << 255).to_bytes(32, "little") + theirs[32:]),
    )
    told(
        "the second encoding of a mask key, its high bit set",
        "PeerProtocolError",
        with_public(other, theirs[:63] + bytes([theirs[63] | 128])),
    )
    told(
        "a coordinate of p and more",
        "PeerProtocolError",
        with_public(other, (PRIME + 9).to_bytes(32, "little") + theirs[32:]),
    )
    for point in (0, 1, PRIME - 1):
        told(
            f"a point of low order, u = {point if point < 2 else 'p - 1'}",
            "PeerProtocolError",
            with_public(other, point.to_bytes(32, "little") + theirs[32:]),
        )
    few = plan.threshold - (1 if plan.is_complete else 0)
    told("fewer parties than shares are needed", "TooFewSurvivorsError", dict(list(entries.items())[:few]))
    told("not in ascending order", "DecodeError", list(entries.items())[::-1])
    told("a party twice", "DecodeError", [*entries.items(), *list(entries.items())[-1:]][1:])
    told(
        "a party that the plan does not have",
        "DecodeError",
        {party: keys for party, keys in entries.items() if party != last} | {plan.num_parties: entries[last]},
    )
    half = s.written(entries, s.directory())
    more = (len(entries) + 1).to_bytes(4, "little") + half[4:]
    out.party(
        "a count of more parties than there are",
        "DecodeError",
        s,
        setting.wrapped("roster", 0, more),
        instead_of="advertise",
    )
    low = with_public(other, theirs[:32] + bytes(32))
    out.party(
        "a mask key of low order, found before the input is masked",
        "PeerProtocolError",
        s,
        setting.wrapped("roster", 0, s.written(low, s.directory())),
        setting.wrapped("relay", 0, s.body("server", 0, "share_keys")),
        instead_of="advertise",
    )


def _directories(out, s):
    """The keys that the list of survivors is signed with."""
    setting, plan, entries = s.setting, s.plan, s.rosters[0]
    keys = s.directory() or {party: bytes([party]) * 32 for party in plan.everybody}
    far = [party for party in plan.everybody if party not in entries]

    def told(what, error, directory):
        out.party(what, error, s, setting.wrapped("roster", 0, s.written(entries, directory)), instead_of="advertise")

    if not plan.has_directory:
        told("keys for signatures where nobody signs with such", "DecodeError", keys)
        return
    near = next(party for party in entries if party)
    told("no keys for signatures", "DecodeError", {})
    told("its own key for signatures is missing", "PeerProtocolError", {p: key for p, key in keys.items() if p})
    told("its own key for signatures is another", "PeerProtocolError", keys | {0: bytes([7]) * 32})
    told(
        "a neighbour's key for signatures is missing",
        "PeerProtocolError",
        {party: key for party, key in keys.items() if party != near},
    )
    told("two keys for signatures are the same", "PeerProtocolError", keys | {near: keys[far[0]]})
    told("keys for signatures not in ascending order", "DecodeError", list(keys.items())[::-1])
    crowd = dict(sorted((entries | {far[0]: s.keys[far[0]][:64]}).items()))
    few = dict(list(keys.items())[:4])
    roster = setting.wrapped("roster", 0, s.written(crowd, few))
    out.party(
        "more neighbours than the plan has, instead of keys for signatures",
        "DecodeError",
        s,
        roster,
        instead_of="advertise",
    )


def _relays(out, s):
    """Shares of those who sent some."""
    setting, plan = s.setting, s.plan
    others = [party for party in s.rosters[0] if party]
    body = s.body("server", 0, "share_keys")

    def told(what, error, body):
        out.party(what, error, s, setting.wrapped("relay", 0, body), instead_of="share_keys")

    few = plan.threshold - (2 if plan.is_complete else 1)
    told("shares of too few", "TooFewSurvivorsError", s.relayed(0, others[:few]))
    told("a share is missing", "DecodeError", body[:-88])
    told("one byte of a share is missing", "DecodeError", body[:-1])
    told("a sender behind the last party", "DecodeError", bytes([body[0] | 1 << len(others)]) + body[1:])
    told("nothing", "DecodeError", b"")


def _lists(out, s):
    """Who is in the sum: this party, enough others, and nobody who did not share."""
    setting, plan = s.setting, s.plan
    listed = list(s.keys) if plan.quorum else s.shared[0]

    def told(what, error, body, session=s):
        out.party(what, error, session, setting.wrapped("survivors", 0, body), instead_of="masked_input")

    told("survivors without this party", "PeerProtocolError", s.listed(0, [party for party in listed if party]))
    few = [party for party in s.shared[0] if party][: plan.threshold - (2 if plan.is_complete else 1)]
    told("too few survivors", "TooFewSurvivorsError", s.listed(0, [0, *few]))
    body = s.listed(0, listed)
    if len(listed) % 8:
        told("a survivor behind the last party", "DecodeError", bytes([body[0] | 1 << len(listed)]))
    told("a set of another size", "DecodeError", body + b"\0")
    told("no set", "DecodeError", b"")
    if plan.quorum:
        gone = out.session("share_keys")
        (absent,) = gone.gone["share_keys"]
        told("a survivor that never shared its keys", "PeerProtocolError", gone.listed(0, [*gone.alive, absent]), gone)
        far = [party for party in plan.everybody if party not in s.rosters[0]]
        some = [*s.rosters[0], *far][: plan.min_survivors - 1]
        told("fewer survivors than the plan promised", "TooFewSurvivorsError", s.listed(0, some))


def _proofs(out, s):
    """Signatures over the one list of survivors."""
    setting, plan = s.setting, s.plan

    def told(what, error, alive, signatures, *before):
        out.party(
            what,
            error,
            s,
            *before,
            setting.wrapped("proof", 0, s.proven(alive, signatures)),
            instead_of="consistency" if not before else "masked_input",
        )

    def signed(parties, alive):
        return {party: s.signature(party, alive) for party in parties}

    everybody, most = s.alive, s.alive[: plan.quorum]
    less = [party for party in everybody if party != everybody[-1]]
    told("fewer signatures than the quorum", "TooFewSurvivorsError", everybody, signed(most[:-1], everybody))
    told(
        "a split view: the others signed the list without one party",
        "PeerProtocolError",
        everybody,
        signed([0], everybody) | signed(less[1:], less),
    )
    told(
        "a split view: those who heard another list are left out",
        "TooFewSurvivorsError",
        everybody,
        signed([0, everybody[-1]], everybody),
    )
    told(
        "a signature is another party's",
        "PeerProtocolError",
        everybody,
        signed(most, everybody) | {most[-1]: s.signature(most[0], everybody)},
    )
    forged = bytearray(s.signature(most[-1], everybody))
    forged[40] ^= 1
    told(
        "a signature with one bit changed",
        "PeerProtocolError",
        everybody,
        signed(most, everybody) | {most[-1]: bytes(forged)},
    )
    first = s.body("server", 0, "advertise")
    session, s.session = s.session, sha256(first).digest()
    replayed = signed(most[1:], everybody)
    s.session = session
    told("signatures of another session", "PeerProtocolError", everybody, signed([0], everybody) | replayed)
    body = s.proven(everybody, signed(most, everybody))
    for what, changed in (
        ("a signature is missing", body[:-64]),
        ("a signer behind the last survivor", bytes([body[0] | 1 << len(everybody)]) + body[1:]),
        ("no signature and no set", b""),
    ):
        out.party(what, "DecodeError", s, setting.wrapped("proof", 0, changed), instead_of="consistency")
    told(
        "too few signatures of a shorter list",
        "TooFewSurvivorsError",
        less,
        signed(less[: plan.quorum - 1], less),
        setting.wrapped("survivors", 0, s.listed(0, less)),
    )
    told(
        "signatures of the full list after a shorter one was signed",
        "PeerProtocolError",
        less,
        signed(less, everybody),
        setting.wrapped("survivors", 0, s.listed(0, less)),
    )
    out.party(
        "another list of survivors after one was signed",
        "DecodeError",
        s,
        setting.wrapped("survivors", 0, s.listed(0, less)),
        instead_of="consistency",
    )


def _signed_keys(out, s):
    """Keys that their party signed for this task, hence for this model and these settings."""
    setting, entries = s.setting, s.rosters[0]
    other = setting.parties[1]
    model = setting.task_about(sha256(b"another model").digest())

    def told(what, changed):
        out.party(
            what, "PeerProtocolError", s, setting.wrapped("roster", 0, s.written(changed, {})), instead_of="advertise"
        )

    told(
        "keys signed for another model: this party stops before it shares or masks anything",
        entries | {1: other.advertised(task=model)},
    )
    told("keys signed for another task, replayed", entries | {1: other.advertised(task=OTHER)})
    told("keys signed by another party", entries | {1: other.public + entries[2][64:]})
    instead = {party: entries[2 if party == 1 else party] for party in entries if party != 2}
    told("another party's keys and signature in this one's place", instead)
    told("keys that nobody signed", entries | {1: other.public + bytes(64)})
    wrong = setting.wrapped("advertise", 1, other.advertised(task=model))
    out.server("keys signed for another model", "DecodeError", s, wrong, party=1, instead_of="advertise")


def _advertised(out, s):
    """Keys as they come to the server."""
    setting, plan = s.setting, s.plan
    own = setting.parties[1]
    body = s.body(1, "server", "advertise")

    def said(what, error, body, **how):
        out.server(what, error, s, setting.wrapped("advertise", 1, body, **how), party=1, instead_of="advertise")

    def public(what, error, public):
        said(what, error, own.advertised(public=public))

    public(
        "the second encoding of a key",
        "PeerProtocolError",
        own.public[:31] + bytes([own.public[31] | 128]) + own.public[32:],
    )
    public("keys that are another's", "DecodeError", setting.parties[0].public)
    public("two keys that are the same", "DecodeError", own.public[:32] * 2)
    public("a point of low order", "DecodeError", own.public[:32] + bytes(32))
    if plan.has_directory:
        said("another's key for signatures", "DecodeError", body[:64] + s.keys[0][64:])
    said("one byte missing", "DecodeError", body[:-1])
    said("one byte more", "DecodeError", body + b"\0")
    said("another task", "DecodeError", body, task=OTHER)
    right = s.messages[s.at(1, "server", "advertise")][3]
    for what, source, error in (
        ("as another party", 2, "DecodeError"),
        ("as no party", plan.num_parties, "PeerProtocolError"),
        ("as the server", "server", "PeerProtocolError"),
    ):
        out.server(f"sent {what}", error, s, right, party=1, instead_of="advertise", source=source)
    again = s.messages[s.at(0, "server", "advertise")][3]
    out.server("sent twice", "PeerProtocolError", s, again, party=1, instead_of="advertise", source=0)


def _sent(out, s):
    """Messages between the first and the last round."""
    setting, plan = s.setting, s.plan
    for round_, kind in (("share_keys", "shares"), ("masked_input", "input"), ("consistency", "signature")):
        if round_ == "consistency" and not plan.quorum:
            continue
        body = s.body(1, "server", round_)
        for what, changed in (("one byte missing", body[:-1]), ("one byte more", body + b"\0"), ("nothing", b"")):
            message = setting.wrapped(kind, 1, changed)
            out.server(f"{kind}: {what}", "DecodeError", s, message, party=1, instead_of=round_)
        out.server(
            f"{kind}: of the round before",
            "DecodeError",
            s,
            setting.wrapped("advertise", 1, s.body(1, "server", "advertise")),
            party=1,
            instead_of=round_,
        )
    full = s.body(1, "server", "masked_input")
    used = plan.dim * plan.modulus_bits
    if used % 8:
        beyond = full[:-1] + bytes([full[-1] | 1 << used % 8])
        out.server(
            "input: a bit behind the last entry",
            "DecodeError",
            s,
            setting.wrapped("input", 1, beyond),
            party=1,
            instead_of="masked_input",
        )
    gone = out.session("share_keys")
    (absent,) = gone.gone["share_keys"]
    first = next(party for party in plan.everybody if party != absent)
    out.server(
        "input: of a party that has dropped out",
        "PeerProtocolError",
        gone,
        setting.wrapped("input", absent, full),
        party=first,
        instead_of="masked_input",
        source=absent,
    )
    if plan.quorum:
        less = [party for party in s.alive if party != s.alive[-1]]
        out.server(
            "signature: of another list",
            "DecodeError",
            s,
            setting.wrapped("signature", 1, s.signature(1, less)),
            party=1,
            instead_of="consistency",
        )
        out.server(
            "signature: another party's",
            "DecodeError",
            s,
            setting.wrapped("signature", 1, s.signature(2, s.alive)),
            party=1,
            instead_of="consistency",
        )


def _opened(out, s):
    """Shares that do not give what was committed to, or advertised."""
    setting, plan = s.setting, s.plan
    shares = s.shares[1]
    victim = next(party for party in shares if party != 1)

    def said(what, session, speaker, given, error="DecodeError", when="close_round"):
        message = setting.wrapped("unmask", speaker, session.unmasking(speaker, dict(sorted(given.items()))))
        out.server(what, error, session, message, party=speaker, instead_of="unmask", when=when)

    def changed(share):
        # not the lowest bits: of a mask key, X25519 does not look at those
        return share[:2] + bytes([share[2] ^ 1]) + share[3:]

    too_large = (2**31 - 1).to_bytes(4, "little") + shares[victim][4:]
    mask_key = setting.parties[victim].pairs(s.rosters[victim])[1][:36]
    said("a wrong share of a self-mask seed", s, 1, shares | {victim: changed(shares[victim])})
    said("a share that is no field element", s, 1, shares | {victim: too_large})
    said("a share of the mask key where the seed is wanted", s, 1, shares | {victim: mask_key})
    if not plan.is_complete:
        own = {party: share for party, share in shares.items() if party != victim} | {1: shares[victim]}
        said("a share of its own secret, which it has none of", s, 1, own, when="receive")
    gone = out.session("masked_input")
    (absent,) = gone.gone["masked_input"]
    speaker = next(party for party in gone.sent if absent in gone.shares[party])
    given = gone.shares[speaker]
    said("a wrong share of a mask key", gone, speaker, given | {absent: changed(given[absent])})
    tight = out.session("unmask")
    if plan.is_complete:  # so many shares are left that nothing but the commitment can tell
        speaker = min(tight.sent)
        given = tight.shares[speaker]
        wrong = given | {victim: changed(given[victim])}
        said("a wrong share of a seed, of no more shares than are needed", tight, speaker, wrong)
    body = s.body(1, "server", "unmask")
    behind = bytes([body[0] | 1 << len(s.shared[1])]) + body[1:]
    for what, other in (
        ("one byte missing", body[:-1]),
        ("one byte more", body + b"\0"),
        ("a share behind the last party", behind),
        ("no set", b""),
    ):
        message = setting.wrapped("unmask", 1, other)
        out.server(f"unmask: {what}", "DecodeError", s, message, party=1, instead_of="unmask")


def guarded(sessions):
    """What a guard lets pass: the messages that it was told of before, and no others.

    A row says: the guard of the party's first life holds the digests of its messages by step. Begun again with a seed
    and an input, and told what is `heard`, message by message, the party stops at `stops`: 0 is its start.
    """
    s = sessions[0]
    setting, plan = s.setting, s.plan
    steps = {"advertise": "advertise", "share_keys": "shares", "masked_input": "input"}
    steps |= {"consistency": "signature"} if plan.quorum else {}
    steps["unmask"] = "unmask"
    claimed = {kind: sha256(s.messages[s.at(0, "server", name)][3]).hexdigest() for name, kind in steps.items()}
    heard = [raw.hex() for _, _, target, raw in s.messages if target == 0]
    shorter = dict(list(s.rosters[0].items())[:-1])
    roster = setting.wrapped("roster", 0, s.written(shorter, s.directory())).hex()
    others = [party for party in s.rosters[0] if party][:-1]
    relay = setting.wrapped("relay", 0, s.relayed(0, others)).hex()
    less = [party for party in s.alive if party != max(s.rosters[0])]
    survivors = setting.wrapped("survivors", 0, s.listed(0, less)).hex()
    vector = [str(entry) for entry in setting.vectors[0]]
    other = [str(entry ^ 1) for entry in setting.vectors[0]]
    same, new = setting.seeds[0].hex(), sha256(setting.seeds[0]).hexdigest()
    for what, seed, given, told, stops in (
        ("the same once more", same, vector, heard, None),
        ("its advertised keys were used before: another seed", new, vector, [], 0),
        ("restored, then told another roster", same, vector, [roster], 1),
        ("restored, then a new input", same, other, heard[:2], 2),
        ("restored, then told of fewer who shared", same, vector, [heard[0], relay], 2),
        ("restored, then told of other survivors", same, vector, [*heard[:2], survivors], 3),
    ):
        yield {
            "what": what,
            "party": 0,
            "seed": seed,
            "vector": given,
            "claimed": claimed,
            "heard": told,
            "stops": stops,
        }
