"""Arrays of every library go in, the same kind comes out, and no library is imported for it."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpkit._kinds import check_kind, read, to_float64
from dpkit.bounded import Bounded, flatten, opened
from dpkit.continuous import GaussianMechanism, LaplaceMechanism
from dpkit.entropy import seeded
from dpkit.errors import ParameterError

DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">i4", ">f4", ">f8", "<f8"]


def release(value, seed=7, bound=1.0):
    return GaussianMechanism(1.0).release(Bounded(value, bound), entropy=seeded(seed)).value


class Book:
    def __init__(self):
        self.entries = []

    def record(self, what):
        self.entries.append(what)


class WithArray:
    """Offers ``__array__`` only."""

    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self._array, dtype=dtype, copy=copy)


class WithDlpack:
    """Offers ``__dlpack__`` only, without the keywords of the newer protocol, and never to be written to."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, stream=None):
        return self._array.__dlpack__()

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


class Namespace:
    """A library of arrays on a device, in the sense of the array API."""

    refuses = ()

    def asarray(self, array, *, device):
        if array.dtype.name in self.refuses:
            raise TypeError(f"this device has no {array.dtype.name}")
        return Foreign(array, device)


class Foreign(WithArray):
    """An array of that library."""

    namespace = Namespace()

    def __init__(self, array, device="there"):
        super().__init__(np.array(array))
        self.device, self.shape, self.dtype = device, self._array.shape, f"foreign.{self._array.dtype}"

    def __array_namespace__(self):
        return self.namespace


class Poor(Namespace):
    refuses = ("float64",)


class OnPoorDevice(Foreign):
    namespace = Poor()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mechanism", [GaussianMechanism(1.0), LaplaceMechanism(1.0)], ids=["gaussian", "laplace"])
def test_numpy_floats_keep_their_type_and_the_rest_widens(dtype, mechanism):
    given_type = np.dtype(dtype)
    value = np.arange(6).astype(given_type).reshape(2, 3)
    made = mechanism.release(Bounded(value, 1.0, "l1"), entropy=seeded(1)).value
    same = mechanism.release(Bounded(value.astype(np.float64), 1.0, "l1"), entropy=seeded(1)).value
    wanted = given_type if given_type in (np.dtype(x) for x in ("f4", "f8", ">f4", ">f8")) else np.float64
    wanted = np.float32 if given_type == np.float16 else wanted
    assert (type(made), made.dtype, made.shape) == (np.ndarray, wanted, (2, 3))
    assert (made == same.astype(wanted)).all(), "the release is the float64 one, cast"
    assert (value == np.arange(6).reshape(2, 3)).all(), "the query is left as it was"


@pytest.mark.parametrize(
    "value",
    [
        np.arange(24.0).reshape(2, 3, 4)[::-1, ::2, 1::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.broadcast_to(np.float32(3), (2, 2)),
        np.empty((0, 3), np.float32),
        np.float32(3),
        np.int64(3),
        np.array(3.0),
        np.arange(4.0)[np.newaxis].view(np.recarray),
    ],
    ids=["strided", "fortran", "broadcast", "empty", "scalar", "integer", "zero-dimensional", "subclass"],
)
def test_arrays_of_every_layout(value):
    made = release(value)
    assert isinstance(made, np.ndarray)
    assert made.shape == value.shape
    assert made.dtype == (value.dtype if value.dtype.kind == "f" else np.float64)
    assert (made == release(np.array(value, dtype=np.float64, order="C")).astype(made.dtype)).all()


def test_numbers_and_lists_become_float64():
    for value, shape in ((3, ()), (2.5, ()), ([1, 2], (2,)), (((1.0, 2.0), (3.0, 4.0)), (2, 2)), ([], (0,))):
        made = release(value)
        assert (type(made), made.dtype, made.shape) == (np.ndarray, np.float64, shape)


def test_a_read_only_query_is_read_only_read():
    value = np.arange(3.0)
    value.setflags(write=False)
    made = release(value)
    made += 1.0
    assert value.tolist() == [0.0, 1.0, 2.0]
    assert not np.shares_memory(made, value)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize("kind", [WithArray, WithDlpack], ids=["array", "dlpack"])
def test_what_offers_its_numbers_only_comes_back_as_numpy(kind, dtype):
    array = np.arange(4, dtype=dtype)
    value = kind(array)
    for made in (release(value), release({"a": value})["a"]):
        assert isinstance(made, np.ndarray)
        assert made.dtype == (dtype if dtype != "i8" else np.float64)
        assert (made == release(array)).all()
    assert (array == np.arange(4)).all()


def test_a_read_only_export_is_read():
    class Frozen(WithDlpack):
        """The newer protocol, which can say that the memory is read-only."""

        def __dlpack__(self, **wanted):
            return self._array.__dlpack__(**wanted)

    array = np.arange(3.0)
    array.setflags(write=False)
    if np.lib.NumpyVersion(np.__version__) < "2.1.0":
        pytest.skip("numpy 2.1 is the first to speak it")
    made = release(Frozen(array))
    made += 1.0
    assert array.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4"])
def test_an_array_api_library_gets_its_own_kind_and_device_back(dtype):
    value = Foreign(np.arange(4, dtype=dtype), device="far")
    made = release(value)
    assert (type(made), made.device) == (Foreign, "far")
    assert (np.asarray(made) == release(np.arange(4, dtype=dtype))).all()


def test_what_cannot_come_back_is_refused_at_once():
    book, mechanism = Book(), GaussianMechanism(1.0)
    query = Bounded({"a": np.ones(2), "b": OnPoorDevice(np.ones(2))}, 1.0)
    with pytest.raises(TypeError, match="float64"):
        mechanism.release(query, ledger=book)
    assert book.entries == []
    assert type(release(OnPoorDevice(np.ones(2, np.float32)))) is Foreign


def test_a_dict_keeps_the_kind_of_each_leaf():
    torch = pytest.importorskip("torch")
    value = {
        "tensor": torch.ones(2, 2),
        "array": np.ones(3),
        "half": np.ones(1, np.float16),
        "foreign": Foreign(np.ones(2, np.float32)),
        "list": [1, 2],
        "count": torch.tensor(5),
    }
    made = release(value)
    assert [type(leaf) for leaf in made.values()] == [
        torch.Tensor, np.ndarray, np.ndarray, Foreign, np.ndarray, torch.Tensor
    ]  # fmt: skip
    assert list(made) == list(value)
    assert (made["tensor"].dtype, made["count"].dtype, made["count"].shape) == (torch.float32, torch.float64, ())
    flat = release(np.array([1.0] * 10 + [1.0, 2.0, 5.0]))
    assert [x for leaf in made.values() for x in np.asarray(leaf).reshape(-1)] == [
        *flat[:4].astype("f4"), *flat[4:7], *flat[7:10].astype("f4"), *flat[10:]
    ]  # fmt: skip


TENSORS = ["float16", "bfloat16", "float8_e5m2", "float32", "float64", "int8", "uint8", "int64"]


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_come_back_as_tensors(name):
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, name)
    value = torch.arange(6).reshape(2, 3).to(dtype).mT  # not contiguous
    made = release(value)
    wide = dtype.is_floating_point and dtype is not torch.float64
    assert (type(made), made.dtype) == (torch.Tensor, torch.float32 if wide else torch.float64)
    assert (made.device, made.shape, made.requires_grad) == (value.device, (3, 2), False)
    same = release(np.arange(6.0).reshape(2, 3).T)
    assert (made.numpy() == same.astype(made.numpy().dtype)).all()
    assert (value.double() == torch.arange(6).reshape(2, 3).mT).all()


def test_tensors_with_a_graph_come_back_without_it():
    torch = pytest.importorskip("torch")
    leaf = torch.ones(3, requires_grad=True)
    for value in (leaf, torch.nn.Parameter(torch.ones(3)), leaf * 1.0):
        made = release(value)
        assert (type(made), made.requires_grad, made.grad_fn) == (torch.Tensor, False, None)
        assert (made.numpy() == release(np.ones(3, np.float32))).all()
    negative = torch.ones(2, dtype=torch.complex64).conj().imag
    assert negative.is_neg()
    assert release(negative).shape == (2,)


def test_tensors_without_plain_numbers_are_refused_at_once():
    torch = pytest.importorskip("torch")
    refused = [
        torch.ones(2).to_sparse(),
        torch.ones(2, device="meta"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is about to drop them
        refused.append(torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8))
    for value in refused:
        with pytest.raises(ParameterError, match="dense tensor"):
            Bounded({"a": value}, 1.0)
    for dtype in (torch.complex64, torch.bool):
        with pytest.raises(ParameterError, match="real numbers"):
            Bounded(torch.ones(2, dtype=dtype), 1.0)


def test_what_cannot_be_read_is_refused_without_being_printed():
    class Traced:
        shape = (2,)

        def __array__(self, dtype=None, copy=None):
            raise TypeError("secret 31.5")

    book = Book()
    for value in (Traced(), {"a": Traced()}):
        with pytest.raises(ParameterError, match="Traced") as caught:
            GaussianMechanism(1.0).release(Bounded(value, 1.0), ledger=book)
        assert "secret" not in str(caught.value)
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert book.entries == []


def test_a_float32_release_is_the_lattice_value_cast():
    """One record's float32 query: the noise is drawn in float64 and cast once, so no bit of the query is left over."""
    for seed in range(20):
        value = np.array([0.1, 1e6, -3e-5], np.float32)
        exact = release(value.astype(np.float64), seed)
        assert (exact * 1024 % 1 == 0).all()
        assert release(value, seed).tolist() == exact.astype(np.float32).tolist()


def test_a_release_beyond_float32_is_infinite_and_no_error():
    value = np.full(64, np.finfo(np.float32).max)
    made = release(value, bound=1e38)
    assert np.isinf(made).any()
    assert made.dtype == np.float32


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from([np.int64, np.uint64]))
def test_integers_saturate(value, dtype):
    value = value if dtype is np.int64 else value + 2**63
    held = int(to_float64(np.array([value], dtype))[0])
    assert held == max(-(2**53), min(value, 2**53))


def test_reading_names_the_kind_and_never_the_data():
    array, kind = read("value", np.ones(2, np.float16))
    assert (array.dtype, kind.dtype, kind(np.zeros(1)).dtype) == (np.float16, np.float32, np.float32)
    assert kind(np.zeros(1, np.int64)).dtype == np.int64, "integer noise stays integer"
    with pytest.raises(ParameterError, match="got str_;"):
        check_kind("value", np.array(["secret"]))


def test_no_library_is_imported():
    code = (
        "import sys, numpy as np, dpkit\n"
        "value = {'a': np.ones(2, np.float32), 'b': [1.0]}\n"
        "dpkit.GaussianMechanism(1.0).release(dpkit.Bounded(value, 1.0))\n"
        "sys.exit(len({'torch', 'jax', 'cupy', 'tensorflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_jax_arrays_come_back_as_jax_arrays():
    jax = pytest.importorskip("jax")
    for dtype, back in (("float32", "float32"), ("bfloat16", "float32"), ("float16", "float32"), ("int32", "float32")):
        value = jax.numpy.arange(4).astype(dtype)
        made = release(value)
        assert isinstance(made, jax.Array)
        assert (made.dtype, made.device) == (back, value.device)
        assert (np.asarray(made) == release(np.arange(4.0)).astype(np.float32)).all()
    with pytest.raises(ParameterError, match="outside of traced functions"):
        jax.jit(release)(jax.numpy.ones(2))
    total = Bounded(jax.numpy.ones(2), 1.0) * 2.0 + Bounded(jax.numpy.ones(2), 1.0)
    assert isinstance(total.value, jax.Array)
    whole = Bounded(jax.numpy.full(2, 2**24 + 1), 1.0) + Bounded(jax.numpy.ones(2, "int32"), 1.0)
    assert whole.value.tolist() == [2.0**24 + 2] * 2, "integers are not rounded to float32"


def test_strict_arrays_come_back_as_strict_arrays():
    import array_api_strict as strict

    for device in strict.__array_namespace_info__().devices():
        value = strict.ones(3, dtype=strict.float32, device=device)
        made = release(value)
        assert (type(made), made.dtype, made.device) == (type(value), strict.float32, device)
    assert flatten({"a": strict.ones(2)}).tolist() == [1.0, 1.0]
    assert opened(strict.ones(2, dtype=strict.int64))[0].tolist() == [1.0, 1.0]
