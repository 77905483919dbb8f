"""A second device that is the CPU's memory and behaves as an accelerator.

Importing this file makes `torch.device("second")` known to torch. A tensor on it is a
`Second`: torch sees a tensor of another device, which holds a CPU tensor that does the
computing. So values are real and can be compared with the CPU's, and what goes wrong on
a GPU goes wrong here:

- an operation on tensors of both devices raises, but for what CUDA lets pass: a CPU
  tensor without dimensions among elementwise arguments, and CPU indices;
- `.numpy()` and `np.asarray` raise a TypeError;
- whatever makes a GPU's caller wait (`.item()`, `.cpu()`, `nonzero`, a boolean index,
  ...) works, and is noted, with the line of the package that asked, by `waits()`.

Not copied from a GPU: its own random numbers (those of the CPU are drawn, so that even
dropout is the same), memory that runs out, and other rounding. `x[mask] = y` with one number
in `y` counts as no wait, which on CUDA holds only for a number of the CPU.

Import it before the first backward pass of a process: autograd counts devices once.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NoReturn

import pytest
import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._pytree import tree_iter, tree_map

import minibert

NAME = "second"
PACKAGE = str(Path(minibert.__file__).parent)
aten = torch.ops.aten


class Wait(NamedTuple):
    """One time that the caller of a GPU would have stood still."""

    kind: str  # "item", "cpu", "nonzero", ...
    line: str  # "mlm.py:210", the innermost of the package, or "" outside of it
    function: str  # "mlm.at_labels", which that line is in


_open: list[list[Wait]] = []  # what the waits() that are entered have noted


@contextmanager
def waits() -> Iterator[list[Wait]]:
    """Note every synchronisation while it is entered."""
    found: list[Wait] = []
    _open.append(found)
    try:
        yield found
    finally:
        _open.pop()


def kinds(found: list[Wait]) -> dict[str, int]:
    """Count waits by kind and function: {"nonzero losses.at_labels": 3}."""
    return dict(Counter(f"{one.kind} {one.function}".strip() for one in found))


def note(kind: str) -> None:
    """Write down a wait, with the line of the package that caused it."""
    frame = sys._getframe(1)
    while frame and not frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back  # type: ignore[assignment]
    one = Wait(kind, "", "")
    if frame:
        file = Path(frame.f_code.co_filename)
        one = Wait(kind, f"{file.name}:{frame.f_lineno}", f"{file.stem}.{frame.f_code.co_name}")
    for found in _open:
        found.append(one)


# Operations whose result's size, or a Python number, depends on values.
LOOKS = {
    aten._local_scalar_dense: "item", aten.nonzero: "nonzero", aten.equal: "equal",
    aten.masked_select: "masked_select", aten._unique2: "unique", aten.unique_dim: "unique",
    aten.unique_consecutive: "unique", aten.bincount: "bincount", aten.is_nonzero: "item",
    aten.repeat_interleave: "repeat_interleave",
}  # fmt: skip
INDEX = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index)
COPIES = (aten.copy_, aten._to_copy, aten._copy_from)
# Elementwise in CUDA's eyes, though not tagged so.
POINTWISE = (aten.fill_, aten.fill, aten.where, aten.masked_fill, aten.masked_fill_, aten.clamp)


class Second(torch.Tensor):
    """A tensor on the second device; its numbers are in `cpu_tensor`."""

    cpu_tensor: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, cpu_tensor: Tensor) -> "Second":
        """Wrap a tensor of the CPU, whose memory it shares."""
        ours = torch.Tensor._make_wrapper_subclass(
            cls, cpu_tensor.shape, strides=cpu_tensor.stride(), dtype=cpu_tensor.dtype,
            storage_offset=cpu_tensor.storage_offset(), device=torch.device(NAME, 0),
        )  # fmt: skip
        ours.cpu_tensor = cpu_tensor
        return ours

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Compute on the CPU what torch asks of this device."""
        if func is aten._has_compatible_shallow_copy_type.default:
            return False  # a module's parameters are made anew when it moves here
        if func._can_decompose():  # in inference mode nobody took it apart before
            return func.decompose(*args, **(kwargs or {}))
        return run(func, args, kwargs or {})

    def tolist(self) -> Any:
        """Copy to the CPU, as a GPU's tensor does."""
        note("tolist")
        return self.detach().cpu_tensor.tolist()  # type: ignore[attr-defined]

    def numpy(self, *, force: bool = False) -> Any:
        """Refuse as CUDA does."""
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to "
            "copy the tensor to host memory first."
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        """Refuse `np.asarray`, which CUDA refuses."""
        self.numpy()
        raise AssertionError

    def untyped_storage(self) -> torch.UntypedStorage:
        """Let safetensors tell whether two tensors share memory."""
        return self.cpu_tensor.untyped_storage()

    def __repr__(self, **kwargs: Any) -> str:  # type: ignore[override]
        """Show the numbers."""
        return f"Second({self.cpu_tensor!r})"


def check_devices(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Refuse tensors of both devices where CUDA does."""
    packet = func.overloadpacket
    plain = [x for x in tree_iter((args, kwargs)) if type(x) is not Second and _is(x)]
    if not plain or packet in COPIES:
        return
    if packet in INDEX:  # indices may be on the CPU, if what is indexed is here
        if not isinstance(args[0], Second):
            raise RuntimeError(
                "indices should be either on cpu or on the same device as the indexed tensor "
                f"({args[0].device})"
            )
        plain = [x for x in args[2:] if type(x) is not Second and _is(x)]
    scalars = torch.Tag.pointwise in func.tags or packet in (*POINTWISE, *INDEX)
    if any(not scalars or x.ndim > 0 for x in plain):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{NAME}:0 and {plain[0].device}! ({func})"
        )


def _is(x: Any) -> bool:
    return isinstance(x, Tensor)


def note_wait(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Write down what a GPU could not have queued."""
    packet = func.overloadpacket
    if packet in LOOKS:
        note(LOOKS[packet])
    elif packet is aten._to_copy:
        if torch.device(kwargs.get("device") or NAME).type == "cpu":
            note("cpu")
    elif packet is aten.copy_:
        if not isinstance(args[0], Second):
            note("cpu")
    elif packet in INDEX:
        masks = [x for x in args[1] if isinstance(x, Second) and x.dtype == torch.bool]
        if masks and (len(args) < 3 or args[2].numel() != 1):  # a number: a masked_fill
            note("boolean index")


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do an operation with the CPU tensors inside; wrap what comes out."""
    check_devices(func, args, kwargs)
    note_wait(func, args, kwargs)
    ours = {id(x.cpu_tensor): x for x in tree_iter((args, kwargs)) if isinstance(x, Second)}
    device = kwargs.get("device")
    here = torch.device(device).type == NAME if device is not None else bool(ours)
    if device is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    if func.overloadpacket is aten.copy_:  # where it is copied to says where it is
        here = isinstance(args[0], Second)

    # In inference mode a view of an ordinary tensor is an ordinary one.
    ordinary = func.is_view and not args[0].is_inference()

    def inside(x: Any) -> Any:
        return x.cpu_tensor if isinstance(x, Second) else x

    def outside(x: Any) -> Any:
        if not here or not _is(x):
            return x
        if id(x) in ours:  # in place: the same object comes back
            return ours[id(x)]
        with torch.inference_mode(torch.is_inference_mode_enabled() and not ordinary):
            return Second(x)

    out = func(*tree_map(inside, args), **tree_map(inside, kwargs))
    for x in ours.values() if func._schema.is_mutable else ():
        if x.shape != x.cpu_tensor.shape:
            raise NotImplementedError(f"{func} gave a tensor of the second device another shape")
    return tree_map(outside, out)


class Module:
    """What torch asks of a device's module, `torch.second`."""

    _is_in_bad_fork: ClassVar[Callable[[], bool]] = staticmethod(lambda: False)
    is_available: ClassVar[Callable[[], bool]] = staticmethod(lambda: True)
    is_initialized: ClassVar[Callable[[], bool]] = staticmethod(lambda: True)
    device_count: ClassVar[Callable[[], int]] = staticmethod(lambda: 1)
    current_device: ClassVar[Callable[[], int]] = staticmethod(lambda: 0)
    # Its chance is the CPU's: there is no state of its own to seed or to keep.
    manual_seed_all: ClassVar[Callable[[int], None]] = staticmethod(lambda seed: None)
    get_rng_state: ClassVar[Callable[..., None]] = staticmethod(lambda device=0: None)
    set_rng_state: ClassVar[Callable[..., None]] = staticmethod(lambda state, device=0: None)

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        """Give what autocast may compute in."""
        return [torch.float32, torch.bfloat16, torch.float16]


def register(name: str) -> None:
    """Answer for an operation that torch sends here by its key, past `Second`."""
    packet, _, overload = name.partition(".")
    func = getattr(getattr(aten, packet), overload or "default")
    _library.impl(name, lambda *args, **kwargs: run(func, args, kwargs), "PrivateUse1")


def register_cast(name: str, lower: bool) -> None:
    """Let autocast compute an operation in its type, or in float32 as CUDA does."""
    packet, _, overload = name.partition(".")
    func = getattr(getattr(aten, packet), overload or "default")

    def call(*args: Any, **kwargs: Any) -> Any:
        dtype = torch.get_autocast_dtype(NAME) if lower else torch.float32

        def cast(x: Any) -> Any:
            ours = isinstance(x, Second) and x.is_floating_point()
            return x.to(dtype) if ours else x

        with torch.autocast(NAME, enabled=False):
            return func(*tree_map(cast, args), **tree_map(cast, kwargs))

    _library.impl(name, call, "AutocastPrivateUse1")


if torch.cuda.is_available() or torch.backends.mps.is_available():
    pytest.skip("a true accelerator is here, beside which none may be", allow_module_level=True)
if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
    pytest.skip("this torch takes no device written in Python", allow_module_level=True)
backend_registration._setup_privateuseone_for_python_backend(NAME, Module())
_library = torch.library.Library("aten", "IMPL")
# Factories have no tensor that is a Second yet; torch.tensor() copies past it.
for _name in (
    "empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step",
    "copy_", "randperm", "eye", "linspace",
):  # fmt: skip
    register(_name)
_others = torch.library.Library("_", "IMPL")
_others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
for _name in ("linear", "matmul", "scaled_dot_product_attention"):
    register_cast(_name, lower=True)
for _name in ("layer_norm", "softmax.int", "log_softmax.int", "cross_entropy_loss"):
    register_cast(_name, lower=False)
