"""A whole round of Flower's SecAgg+ in one process, its own functions on both sides, for bench_rounds.

Run are Flower's own files ``client/mod/secure_aggregation/secaggplus_mod.py`` (``_setup``, ``_share_keys``,
``_collect_masked_vectors`` and ``_unmask``, which its modifier calls) and
``server/workflow/secure_aggregation/secaggplus_workflow.py`` (``setup_stage`` to ``unmask_stage``), with all that they
call below ``common/secure_aggregation``, ``supercore/primitives`` and ``compat/common/parameter.py``. Not run are its
network, the records of its messages (dicts stand for them), and what its strategy does with the mean. Where it is to be
had from is told in peers_masking.
"""

import importlib
import importlib.metadata
import importlib.util
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from tests.bench.peers_masking import MissingPeerError

EMPTY = {  # packages whose own __init__ is not run, with what is taken from them
    "flwr": (),
    "flwr.app": ("ConfigRecord", "Context", "Message", "RecordDict"),
    "flwr.app.typing": ("ConfigRecordValues",),
    "flwr.client": (),
    "flwr.client.mod": (),
    "flwr.client.mod.secure_aggregation": (),
    "flwr.clientapp": (),
    "flwr.clientapp.typing": ("ClientAppCallable",),
    "flwr.common": ("FitRes", "NDArrayFloat", "NDArrayInt", "NDArrays", "Parameters"),
    "flwr.compat": (),
    "flwr.compat.common": (),
    "flwr.compat.common.recorddict_compat": (),
    "flwr.server": (),
    "flwr.server.client_proxy": ("ClientProxy",),
    "flwr.server.compat": (),
    "flwr.server.compat.legacy_context": ("LegacyContext",),
    "flwr.server.workflow": (),
    "flwr.server.workflow.secure_aggregation": (),
    "flwr.serverapp": (),
    "flwr.serverapp.grid": ("Grid",),
    "flwr.supercore": ("log",),
}


class Record(dict):
    """A message's content, and the records in it."""

    @property
    def config_records(self):
        return self

    array_records = property(lambda self: {})


class Message(SimpleNamespace):
    """To a node, or from one."""

    def has_error(self):
        return False


class FlowerRounds:
    """Flower's client and server code; raises MissingPeerError."""

    def __init__(self):
        found = importlib.util.find_spec("flwr")
        if found is None or importlib.util.find_spec("Crypto") is None:
            raise MissingPeerError("flwr and pycryptodome")
        self.name = f"Flower {importlib.metadata.version('flwr')}"
        with patch.dict(sys.modules, _around(Path(found.origin).parent)):
            _fill()
            self.client = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
            self.server = importlib.import_module("flwr.server.workflow.secure_aggregation.secaggplus_workflow")
            for name in [name for name in sys.modules if name.split(".")[0] == "flwr"]:
                del sys.modules[name]

    def workflow(self, shares, threshold, value_bits, modulus_bits, clip=1.0):
        """Its server; a party keeps one of the shares."""
        return self.server.SecAggPlusWorkflow(
            shares,
            threshold,
            max_weight=1.0,
            clipping_range=clip,
            quantization_range=1 << value_bits,
            modulus_range=1 << modulus_bits,
        )

    def context(self, nodes):
        """What its stages ask of their surroundings; the mean is kept in ``found``."""
        context = SimpleNamespace(found=None)

        def aggregate(number, results, failures):
            context.found = results[0][1].parameters
            return None, {}

        proxies = [SimpleNamespace(node_id=node) for node in nodes]
        context.strategy = SimpleNamespace(
            configure_fit=lambda number, parameters, manager: [(proxy, Record()) for proxy in proxies],
            aggregate_fit=aggregate,
        )
        context.client_manager = SimpleNamespace(num_available=lambda: len(proxies))
        records = {"config": {"current_round": 1}}
        context.state = SimpleNamespace(config_records=records, array_records={"parameters": None})
        return context

    def mean(self, context):
        """The aggregate that its strategy was given."""
        return [self.server.bytes_to_ndarray(tensor) for tensor in context.found.tensors]


class Grid:
    """Flower's network: messages go to functions of this process, and nodes in `gone` are silent from a stage on."""

    def __init__(self, flower, inputs, gone=None):
        self._client, self._inputs, self._gone = flower.client, inputs, gone or {}
        self.states = {node: flower.client.SecAggPlusState() for node in inputs}
        for node, state in self.states.items():
            state.nid = node
        self._silent = set()

    def send_and_receive(self, messages, timeout=None):
        replies = []
        for message in messages:
            asked = dict(message.content["secaggplus_configs"])
            stage = asked.pop("stage")
            self._silent |= set(self._gone.get(stage, ()))
            if message.dst_node_id not in self._silent:
                replies.append(reply(message.dst_node_id, self.step(message.dst_node_id, stage, asked)))
        return replies

    def step(self, node, stage, asked):
        """What Flower's modifier does with a message of a stage."""
        function = getattr(self._client, f"_{stage}")
        more = (1, self._inputs[node]) if stage == "collect_masked_vectors" else ()
        return function(self.states[node], asked, *more)


def reply(node, answer):
    return Message(content=Record(secaggplus_configs=answer), metadata=SimpleNamespace(src_node_id=node))


def size(value):
    """Bytes in an answer or a question, without any names, types or framing; integers count for 8."""
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(size(part) for part in value.values())
    return sum(size(part) for part in value) if isinstance(value, (list, tuple)) else 8


def _around(folder):
    """Modules in the place of packages, through which Flower's own files are found."""
    modules = {}
    for name, taken in EMPTY.items():
        module = types.ModuleType(name)
        module.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
        for part in taken:
            setattr(module, part, object)
        modules[name] = module
    return modules


def _fill():
    """What the stages do with records, without records."""
    app, common, compat = (sys.modules[f"flwr.{name}"] for name in ("app", "common", "compat.common.recorddict_compat"))
    app.ConfigRecord, app.RecordDict, app.Message = Record, Record, Message
    sys.modules["flwr.supercore"].log = lambda *words: None
    parameter = importlib.import_module("flwr.compat.common.parameter")
    for name in ("ndarray_to_bytes", "bytes_to_ndarray", "ndarrays_to_parameters", "parameters_to_ndarrays"):
        setattr(common, name, getattr(parameter, name))
    compat.arrayrecord_to_parameters = compat.parameters_to_arrayrecord = lambda *words, **named: None
    compat.fitins_to_recorddict = lambda fitins, keep: fitins
    compat.recorddict_to_fitres = lambda content, keep: SimpleNamespace(parameters=None)
    sys.modules["flwr.compat.common"].recorddict_compat = compat
