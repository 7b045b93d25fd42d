"""Messages, keys and plans of threshold sums that must be refused, and by whom; written by the slow sessions.

A message is told as what changes in one of the sessions' own: by place, the bytes from there to there are these.
"""

from itertools import groupby

from tests.oracles.threshold_numbers import side_by_side

HEADER = 53  # with a set of eight parties or fewer
SMALL = 300
PRIME = 2**255 - 19
ORDER_EIGHT = 325606250916557431795983626356110631294008115727848805560023387167927233504
FOUND = "DecodeError"
NAMED = ("DecodeError", "PeerProtocolError")


def _moved(base, new, at):
    """New bytes that stand elsewhere in the message: from there, to there; none if too few do."""
    place = base.find(new[at : at + 16])
    if place < 0 or at + 16 > len(new):
        return None
    length = 16
    while at + length < len(new) and base[place + length : place + length + 1] == new[at + length : at + length + 1]:
        length += 1
    return [place, place + length]


def _runs(base, new):
    """Where bytes as many are others."""
    other = [i for i in range(len(base)) if base[i] != new[i]]
    runs = [[i for _, i in run] for _, run in groupby(enumerate(other), lambda pair: pair[1] - pair[0])]
    if sum(map(len, runs)) <= SMALL:
        return [[run[0], run[-1] + 1, new[run[0] : run[-1] + 1].hex()] for run in runs]
    out, at, stop = [], other[0], other[-1] + 1
    while at < stop:
        copied = _moved(base, new[:stop], at)
        end = at + copied[1] - copied[0] if copied else stop
        if new[at:end] != base[at:end]:
            out.append([at, end, copied or new[at:end].hex()])
        at = end
    return out


def edits(base, new):
    """What makes a message another: from a place, to a place, these bytes or those from there to there.

    All places are those of the message as it was.
    """
    if len(base) == len(new):
        out = _runs(base, new)
    else:
        head = min(HEADER, len(base), len(new))
        least = min(len(base), len(new))
        same = next((i for i in range(head, least) if base[i] != new[i]), least)
        out = [*_runs(base[:head], new[:head]), [same, len(base), new[same:].hex()]]
    assert sum(len(text) // 2 for _, _, text in out if isinstance(text, str)) <= SMALL, "too much for the table"
    return out


def changed(data, at, by=1):
    """One byte of some."""
    place = at % len(data)
    return data[:place] + bytes([data[place] ^ by]) + data[place + 1 :]


class Refused:
    """Rows about the sessions of one plan.

    A row says: after the first `after` messages of a session, `to` hears a message from `source`, and raises `error`
    about `peer`; or (`when`) the server takes it in place of its sender's own, and raises `error` as it closes the last
    round, or leaves it out where `error` is None.
    """

    def __init__(self, sessions):
        self.sessions, self.rows = sessions, []

    def session(self, *rounds):
        """A session to the end in which somebody goes in these rounds, and in no other."""
        return next(session for session in self.sessions if tuple(session.gone) == rounds and not session.stops)

    def party(self, what, error, session, message, *, party=0, instead_of, base=None, source="server", peer=None):
        """The server says something else to a party."""
        after = session.at("server", party, instead_of)
        self._add(what, error, session, message, after, party, source, "receive", base, peer)

    def server(self, what, error, session, message, *, party, instead_of, base=None, when="receive", source=None):
        """A party says something else to the server."""
        after = session.at(party, "server", instead_of)
        self._add(what, error, session, message, after, "server", party if source is None else source, when, base)

    def late(self, what, error, session, message, *, to, source, base):
        """A message after all others."""
        self._add(what, error, session, message, len(session.messages), to, source, "receive", base)

    def _add(self, what, error, session, message, after, to, source, when, base, peer=None):
        other, place = base or (session, after)
        self.rows.append(
            {
                "what": what,
                "session": self.sessions.index(session),
                "after": after,
                "to": to,
                "source": source,
                "base": [self.sessions.index(other), place],
                "edits": edits(other.messages[place][3], message),
                "error": error,
                "peer": (source if peer is None else peer) if error in NAMED and when == "receive" else None,
                "when": when,
            }
        )


def refusals(sessions, foreign):
    """All rows of a plan; `foreign` begins another session of it."""
    out = Refused(sessions)
    for kind in (_headers_down, _relays, _lists, _headers_up, _sent, _answers, _opened, _late):
        kind(out, sessions[0], foreign)
    return out.rows


def _headers(setting, foreign, kind, party, body):
    """What is no message of this session, to or from this party, of this kind."""
    wrapped, right = setting.wrapped, setting.wrapped(kind, party, body)
    neighbour = (party + 1) % setting.plan.num_parties
    return (
        ("other first letters", wrapped(kind, party, body, magic=b"SAGM")),
        ("another version", wrapped(kind, party, body, version=2)),
        ("version zero", wrapped(kind, party, body, version=0)),
        ("a reserved byte is not zero", wrapped(kind, party, body, zero=1)),
        ("the message after next's kind", wrapped({"relay": "survivors", "shares": "input"}[kind], party, body)),
        ("its own kind sent back", wrapped({"relay": "shares", "shares": "relay"}[kind], party, body)),
        ("no kind", wrapped(0, party, body)),
        ("another session in the header", wrapped(kind, party, body, bound=foreign.bound)),
        ("another session's key", wrapped(kind, party, body, link=foreign.link(party))),
        (
            "another session in header and key",
            wrapped(kind, party, body, bound=foreign.bound, link=foreign.link(party)),
        ),
        ("another party's number", wrapped(kind, neighbour, body, link=setting.link(party))),
        ("another party's key", wrapped(kind, party, body, link=setting.link(neighbour))),
        ("no party's number", wrapped(kind, setting.plan.num_parties, body, link=setting.link(party))),
        ("a length one too large", wrapped(kind, party, body, length=len(body) + 1)),
        ("a length beyond all memory", wrapped(kind, party, body, length=2**63)),
        ("a byte behind the message", right + b"\0"),
        ("a byte more of body", wrapped(kind, party, body + b"\0")),
        ("a byte less of body", wrapped(kind, party, body[:-1])),
        ("the last byte is missing", right[:-1]),
        ("only the header", right[:52]),
        ("an empty body", wrapped(kind, party, b"")),
        ("nothing", b""),
        ("a bit of the code", changed(right, -1)),
        ("a bit of the body", changed(right, 60)),
        ("no code", right[:-32] + bytes(32)),
    )


def _headers_down(out, s, foreign):
    for what, message in _headers(s.setting, foreign, "relay", 0, s.body("server", 0, "share_keys")):
        out.party(f"relay: {what}", "DecodeError", s, message, instead_of="share_keys")
    at = s.at("server", 1, "share_keys")
    out.party("another's relay", "DecodeError", s, s.messages[at][3], instead_of="share_keys", base=(s, at))
    at = s.at(0, "server", "share_keys")
    out.party("what it said itself", "DecodeError", s, s.messages[at][3], instead_of="share_keys", base=(s, at))
    right = s.raw("server", 0, "share_keys")
    out.party("relay from a party", "PeerProtocolError", s, right, instead_of="share_keys", source=1)
    at = s.at("server", 0, "share_keys")
    out.party("a relay twice", "DecodeError", s, right, instead_of="masked_input", base=(s, at))
    at = s.at("server", 0, "masked_input")
    early = s.messages[at][3]
    out.party("survivors before the shares", "DecodeError", s, early, instead_of="share_keys", base=(s, at))


def _relays(out, s, _):
    """Boxes open, and hold shares; the set names enough, and the reader."""
    setting, plan, dealer = s.setting, s.plan, s.setting.parties[1]
    right = dealer.nonce + dealer.boxes[0]

    def told(what, error, body, **more):
        out.party(what, error, s, setting.wrapped("relay", 0, body), instead_of="share_keys", **more)

    def dealt(what, box):
        told(what, "DecodeError", s.relay(0, s.shared, of_1=box), peer=1)

    dealt("the dealer's number is changed", changed(right, 0))
    dealt("a bit of a share", changed(right, 40))
    dealt("the last bit of a sealed share", changed(right, -1, 128))
    second = setting.parties[2]
    exchanged = {"of_1": second.nonce + second.boxes[0], "of_2": right}
    told("two dealers' shares are exchanged", "DecodeError", s.relay(0, s.shared, **exchanged), peer=1)
    told(
        "a dealer's share is another's",
        "DecodeError",
        s.relay(0, s.shared, of_1=second.nonce + second.boxes[0]),
        peer=1,
    )
    at = s.at("server", 2, "share_keys")
    told("the shares of another reader", "DecodeError", s.body("server", 2, "share_keys"), base=(s, at), peer=1)
    too_large = list(dealer.shares[0])
    too_large[5] = 65537
    dealt("a number that is no share", dealer.nonce + dealer.box(0, too_large))
    too_large[5] = 2**17 - 1
    dealt("the largest number that is no share", dealer.nonce + dealer.box(0, too_large))
    if 17 * plan.polynomials % 8:
        spare = changed(side_by_side(dealer.shares[0]), -1, 128)
        dealt("a bit behind the last number of a share", dealer.nonce + dealer.box_of(0, spare))
    body = s.relay(0, s.shared)
    told("a party is named that there is not", "DecodeError", changed(body, 0, 128))
    told("a dealer less is named than has shares", "DecodeError", changed(body, 0, 2))
    without = setting.members([party for party in s.shared if party])
    told("all but the reader are named", "PeerProtocolError", without + body[len(without) :])
    short = out.session("share_keys") if plan.dropped else None
    if short is None:
        return
    gone = next(iter(short.gone["share_keys"]))
    at = short.at("server", 0, "share_keys")
    more = changed(short.messages[at][3][52:-32], 0, 1 << gone)
    out.party(
        "a dealer more is named than has shares",
        "DecodeError",
        short,
        setting.wrapped("relay", 0, more),
        instead_of="share_keys",
    )
    out.party(
        "shares of more kept back than may drop out",
        "TooFewSurvivorsError",
        short,
        setting.wrapped("relay", 0, short.relay(0, short.shared[: plan.min_survivors - 1])),
        instead_of="share_keys",
    )


def _lists(out, s, foreign):
    """Survivors: enough, the reader among them, and all of them dealt."""
    setting, plan = s.setting, s.plan

    def told(what, error, members, session=s, party=0, **form):
        message = setting.wrapped("survivors", party, members, **form)
        out.party(what, error, session, message, party=party, instead_of="masked_input")

    everybody = setting.members(s.alive)
    told("survivors: another session", "DecodeError", everybody, bound=foreign.bound, link=foreign.link(0))
    told("survivors: another session's key", "DecodeError", everybody, link=foreign.link(0))
    told("survivors: another session in the header", "DecodeError", everybody, bound=foreign.bound)
    told("survivors: another version", "DecodeError", everybody, version=2)
    told("survivors: a byte more", "DecodeError", everybody + b"\0")
    told("survivors: nothing", "DecodeError", b"")
    told("survivors: a party that there is not", "DecodeError", changed(everybody, 0, 1 << plan.num_parties))
    told("survivors: a list without the party", "PeerProtocolError", setting.members(s.alive[1:]))
    few = s.alive[: plan.min_survivors - 1]
    told("survivors: a list that is too short", "TooFewSurvivorsError", setting.members(few))
    told("survivors: the party alone", "TooFewSurvivorsError", setting.members([0]))
    told("survivors: nobody", "PeerProtocolError", setting.members([]))
    if plan.dropped:
        short = out.session("share_keys")
        told("survivors: one who has dealt no shares", "PeerProtocolError", everybody, session=short)


def _headers_up(out, s, foreign):
    body = s.body(1, "server", "share_keys")
    for what, message in _headers(s.setting, foreign, "shares", 1, body):
        out.server(f"shares: {what}", "DecodeError", s, message, party=1, instead_of="share_keys")
    right = s.raw(1, "server", "share_keys")
    out.server("shares from another", "DecodeError", s, right, party=1, instead_of="share_keys", source=2)
    n = s.plan.num_parties
    out.server("shares from no party", "PeerProtocolError", s, right, party=1, instead_of="share_keys", source=n)
    at = s.at(0, "server", "share_keys")
    first = s.messages[at][3]
    out.server("shares twice", "PeerProtocolError", s, first, party=1, instead_of="share_keys", base=(s, at), source=0)
    out.server(
        "shares from the server", "PeerProtocolError", s, right, party=1, instead_of="share_keys", source="server"
    )


def _sent(out, s, _):
    """Inputs: of the right length, coefficients that can be."""
    setting = s.setting
    body = s.body(1, "server", "masked_input")
    _, largest, width = s.plan.sent

    def sent(what, error, body, **more):
        out.server(what, error, s, setting.wrapped("input", 1, body), party=1, instead_of="masked_input", **more)

    sent("input: a byte more", "DecodeError", body + b"\0")
    sent("input: a byte less", "DecodeError", body[:-1])
    sent("input: nothing", "DecodeError", b"")
    if largest + 1 < 2**width:
        number = int.from_bytes(body, "little")
        for at in (0, 4096 * s.plan.chunks - 1):
            high = number >> at * width & 2**width - 1 ^ largest + 1
            sent(
                f"input: coefficient {at} is one too large",
                "DecodeError",
                (number ^ high << at * width).to_bytes(len(body), "little"),
            )
    right = s.raw(1, "server", "masked_input")
    at = s.at(1, "server", "masked_input")
    out.server(
        "an input twice", "PeerProtocolError", s, right, party=2, instead_of="masked_input", base=(s, at), source=1
    )
    at = s.at(1, "server", "share_keys")
    early = s.messages[at][3]
    out.server("shares in place of an input", "DecodeError", s, early, party=1, instead_of="masked_input", base=(s, at))
    at = s.at(1, "server", "masked_input")
    out.server("an input before the shares", "DecodeError", s, right, party=1, instead_of="share_keys", base=(s, at))
    if s.plan.dropped:
        short = out.session("share_keys")
        (gone,) = short.gone["share_keys"]
        first = min(short.alive)
        at = s.at(gone, "server", "masked_input")
        raw = s.messages[at][3]
        out.server(
            "an input of one who has dealt no shares",
            "PeerProtocolError",
            short,
            raw,
            party=first,
            instead_of="masked_input",
            base=(s, at),
            source=gone,
        )


def _answers(out, s, _):
    """Answers: about this list, sealed by this party, and numbers of the field."""
    setting, plan = s.setting, s.plan
    party = setting.parties[1]
    body = s.body(1, "server", "reveal")

    def sent(what, error, body, **more):
        out.server(what, error, s, setting.wrapped("reveal", 1, body), party=1, instead_of="reveal", **more)

    sent("answer: a bit", "DecodeError", changed(body, 7))
    sent("answer: the last bit", "DecodeError", changed(body, -1, 128))
    sent("answer: a byte more", "DecodeError", body + b"\0")
    sent("answer: a byte less", "DecodeError", body[:-1])
    values = party.answer(s.alive)
    for number in (65537, 2**17 - 1):
        wrong = [number, *values[1:]]
        sent(f"answer: {number} is no share", "DecodeError", party.reveal_body(s.alive, wrong))
    if 17 * plan.polynomials % 8:
        spare = changed(side_by_side(values), -1, 128)
        sent("answer: a bit behind the last number", "DecodeError", party.answer_of(s.alive, spare))
    right = s.raw(1, "server", "reveal")
    out.server("answer: from another", "DecodeError", s, right, party=1, instead_of="reveal", source=2)
    at = s.at(1, "server", "reveal")
    out.server("answer: twice", "PeerProtocolError", s, right, party=2, instead_of="reveal", base=(s, at), source=1)
    if plan.dropped:
        other = out.session("masked_input")
        at = other.at(0, "server", "reveal")
        raw = other.messages[at][3]
        out.server("answer: about another list", "DecodeError", s, raw, party=0, instead_of="reveal", base=(other, at))
        (gone,) = other.gone["masked_input"]
        at = s.at(gone, "server", "reveal")
        raw = s.messages[at][3]
        first = min(other.alive)
        out.server(
            "answer: of one who is not in the list",
            "PeerProtocolError",
            other,
            raw,
            party=first,
            instead_of="reveal",
            base=(s, at),
            source=gone,
        )


def _opened(out, s, _):
    """What is taken, and found in the sum, or left out of it."""
    setting, plan = s.setting, s.plan
    ended = [session for session in out.sessions if not session.stops]
    for error, session in (
        (FOUND, next((session for session in ended if len(session.answered) == plan.threshold), None)),
        (None, next((session for session in ended if len(session.answered) > plan.threshold), None)),
    ):
        if session is None:
            continue
        party = setting.parties[min(session.answered)]
        values = party.answer(session.alive)
        values[0] = (values[0] + 1) % 65537
        out.server(
            f"an answer wrong in one number, of {len(session.answered)} answers",
            error,
            session,
            setting.wrapped("reveal", party.party, party.reveal_body(session.alive, values)),
            party=party.party,
            instead_of="reveal",
            when="close_round",
        )
    body = s.body(1, "server", "masked_input")
    less_than_an_entry = 1 << plan.delta.bit_length() - 2 - plan.cut
    moved = (int.from_bytes(body, "little") ^ less_than_an_entry).to_bytes(len(body), "little")
    out.server(
        "an input wrong in one coefficient, by less than an entry",
        FOUND,
        s,
        setting.wrapped("input", 1, moved),
        party=1,
        instead_of="masked_input",
        when="close_round",
    )


def _late(out, s, _):
    """Nothing is answered twice, and nothing is taken after the end."""
    setting = s.setting
    at = s.at("server", 0, "masked_input")
    same = s.messages[at][3]
    out.late("the same survivors again", "LocalProtocolError", s, same, to=0, source="server", base=(s, at))
    if s.plan.dropped:
        fewer = [party for party in s.alive if party != s.plan.num_parties - 1]
        other = setting.wrapped("survivors", 0, setting.members(fewer))
        out.late("a second list of survivors", "LocalProtocolError", s, other, to=0, source="server", base=(s, at))
        wide = setting.wrapped("survivors", 0, setting.members(s.alive))
        short = out.session("masked_input")
        at = short.at("server", 0, "masked_input")
        out.late("a second, longer list", "LocalProtocolError", short, wide, to=0, source="server", base=(short, at))
    at = s.at(0, "server", "reveal")
    out.late("an answer after the sum", "LocalProtocolError", s, s.messages[at][3], to="server", source=0, base=(s, at))


def keys(setting):
    """Keys that no session may begin with: a party's, or the server's, and with which roster."""
    plan, right = setting.plan, setting.roster
    swapped = [right[1], right[0], *right[2:]]
    aliased = (PRIME + 9).to_bytes(32, "little")
    high = right[1][:-1] + bytes([right[1][-1] | 128])
    one, eight = (1).to_bytes(32, "little"), ORDER_EIGHT.to_bytes(32, "little")
    rosters = (
        ("a key above the field", [right[0], aliased, *right[2:]]),
        ("the field's size as a key", [right[0], PRIME.to_bytes(32, "little"), *right[2:]]),
        ("a key with its highest bit set", [right[0], high, *right[2:]]),
        ("a key of zeros", [right[0], bytes(32), *right[2:]]),
        ("a key of order one", [right[0], one, *right[2:]]),
        ("a key of order eight", [right[0], eight, *right[2:]]),
        ("a key twice", [right[0], right[2], *right[2:]]),
        ("the server's key", [right[0], setting.server_public, *right[2:]]),
        ("a key too few", right[:-1]),
        ("a key too many", [*right, setting.server_public]),
        ("a key that is too short", [right[0], right[1][:-1], *right[2:]]),
    )
    out = [
        {"what": what, "who": who, "roster": [public.hex() for public in roster]}
        for what, roster in rosters
        for who in (0, "server")
    ]
    out.append({"what": "its own key elsewhere", "who": 0, "roster": [public.hex() for public in swapped]})
    return [{"plan": plan.name, **row, "error": "ParameterError"} for row in out]


def plans():
    """Plans that must be refused: n, dim, value_bits, t, corrupt, dropout, and why."""
    promise, capacity = "ParameterError", "CapacityError"
    return [
        [*numbers, error]
        for numbers, error in (
            ((2, 5, 8, 2, 0.0, 0.0), promise),
            ((401, 5, 8, 400, 0.0, 0.0), promise),
            ((6, 5, 8, 4, 0.0, 0.17), promise),
            ((5, 5, 8, 4, 0.4, 0.2), promise),
            ((7, 5, 8, 6, 0.0, 0.29), promise),
            ((7, 5, 8, 8, 0.0, 0.0), promise),
            ((3, 5, 8, 3, 0.67, 0.0), promise),
            ((7, 5, 8, 6, 0.5, 0.29), promise),
            ((5, 5, 8, 4, 0.1, 0.2), promise),
            ((4, 0, 8, 3, 0.0, 0.25), promise),
            ((4, 5, 0, 3, 0.0, 0.25), promise),
            ((4, 5, 8, 3, 0.0, 1.0), promise),
            ((4, 5, 8, 3, -0.1, 0.0), promise),
            ((7, 5, 53, 5, 0.0, 0.29), capacity),
        )
    ]
