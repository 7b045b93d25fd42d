"""Flower's masks and shares, as its own code makes them, for bench_masking.

Flower is no part of the project's environment; where it is missing, the benchmark says so and has no rows. To have it
measured, keep it and the library of its shares in a folder of their own::

    .venv/bin/pip install --target build/peers --no-deps flwr==1.41.0 pycryptodome
    PYTHONPATH=build/peers make bench ARGS=masking

Only the three files in question are run: the package around them wants a dozen libraries for its network.
"""

import importlib.metadata
import importlib.util
import sys
import types
from pathlib import Path
from unittest.mock import patch

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


class MissingPeerError(Exception):
    """A library that is not installed here."""


class Flower:
    """Masks, their addition, and shares of Flower; raises MissingPeerError."""

    def __init__(self):
        found = importlib.util.find_spec("flwr")
        if found is None or importlib.util.find_spec("Crypto") is None:
            raise MissingPeerError("flwr and pycryptodome")
        self._folder = Path(found.origin).parent / "common" / "secure_aggregation"
        self.name = f"Flower {importlib.metadata.version('flwr')}"
        self.mask = self._module("secaggplus_utils").pseudo_rand_gen
        self.add = self._module("ndarrays_arithmetic").parameters_addition
        shamir = self._module("crypto/shamir")
        self.split, self.join = shamir.create_shares, shamir.combine_shares

    def _module(self, name):
        """One file, with the two names that it takes from the package around it."""
        around = types.ModuleType("flwr.common")
        around.NDArrayInt = object
        spec = importlib.util.spec_from_file_location(name.replace("/", "_"), self._folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        with patch.dict(sys.modules, {"flwr": types.ModuleType("flwr"), "flwr.common": around}):
            spec.loader.exec_module(module)
        return module


def private_key():
    """A mask's private key as Flower shares it: P-384, PEM."""
    return ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
